"""The tests' own cable: does it tag, drop what is not its VLAN's, and lose as much as it should?"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from tests.hw.netns.cable import Cable

HEAD = b"\xff" * 6 + b"\2" * 6
PLAIN = HEAD + b"\x08\x00 body"
TAGGED = HEAD + b"\x81\x00\x00\x1e" + b"\x08\x00 body"
OTHER = HEAD + b"\x81\x00\x00\x1f" + b"\x08\x00 body"


class Plug:
    """One end, and the interface that is plugged in there."""

    def __init__(self) -> None:
        self.interface, self._end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._end.setblocking(False)

    def fileno(self) -> int:
        return self._end.fileno()

    def receive(self) -> bytes:
        return self._end.recv(65536)

    def send(self, frame: bytes) -> None:
        self._end.send(frame)

    def close(self) -> None:
        self._end.close()
        self.interface.close()

    def arrives(self) -> bytes:
        """The next frame; none, empty, within five seconds."""
        ready, _, _ = select.select([self.interface], [], [], 5.0)
        return self.interface.recv(65536) if ready else b""


Laid = tuple[Cable, Plug, Plug]


@pytest.fixture
def trunk() -> Iterator[Laid]:
    plain, tagged = Plug(), Plug()
    cable = Cable(plain, tagged, vlan=30)
    yield cable, plain, tagged
    cable.close()


def test_tags_are_put_on_and_taken_off(trunk: Laid) -> None:
    _, plain, tagged = trunk
    plain.interface.send(PLAIN)
    assert tagged.arrives() == TAGGED
    tagged.interface.send(TAGGED)
    assert plain.arrives() == PLAIN


def test_what_is_not_of_the_vlan_stays_out(trunk: Laid) -> None:
    cable, plain, tagged = trunk
    for frame in (PLAIN, OTHER, TAGGED):
        tagged.interface.send(frame)
    assert plain.arrives() == PLAIN  # the last one; in order, so the others are gone
    assert cable.foreign == 2


def test_as_much_is_lost_as_should_be() -> None:
    plain, other = Plug(), Plug()
    cable = Cable(plain, other, loss=0.3, seed=1)
    arrived = 0
    for _ in range(1000):
        plain.interface.send(PLAIN)
        while select.select([other.interface], [], [], 0)[0]:
            arrived += bool(other.interface.recv(65536))
    while arrived < cable.carried or cable.carried + cable.lost < 1000:
        arrived += bool(other.arrives())
    cable.close()
    assert 250 < cable.lost < 350
