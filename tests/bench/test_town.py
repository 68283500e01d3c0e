"""What is in the full queue, and how its hosts answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

import pytest

from tests.bench.hosts import Host, Taken
from tests.bench.town import Town


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(("destinations", "messages"), [(1000, 10_000), (200, 2000), (10, 33), (10, 4)])
def test_so_many_are_for_the_living(destinations: int, messages: int) -> None:
    town = Town(destinations, messages)
    assert len(town.domains) == len(set(town.domains.values())) == destinations
    sent = Counter(town.recipients[number % destinations].startswith("someone@live") for number in range(messages))
    assert town.living == sent[True]
    assert sum(kind != "live" for kind, _ in town.hosts) == round(destinations * 0.3)


def test_the_kinds_are_mixed() -> None:
    kinds = [kind for kind, _ in Town(1000, 10_000).hosts]
    for start in range(0, 1000, 100):
        assert 60 <= kinds[start : start + 100].count("live") <= 80


@pytest.mark.parametrize("size", [1, 7, 65536])
async def test_a_host_takes_pipelined_mail_however_it_is_cut(size: int) -> None:
    taken, wire = Taken(2), Wire()
    host = Host(taken)
    host.connection_made(cast(asyncio.Transport, wire))
    group = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: x\r\n\r\n..\r\nx\r\n.\r\n"
    data = b"EHLO us.test\r\n" + group + group + b"QUIT\r\n"
    for start in range(0, len(data), size):
        assert not (taken.all.is_set() and start < len(data) - 8)
        host.data_received(data[start : start + size])
    assert taken.all.is_set()
    codes = [line[:3] for line in wire.written.splitlines() if line[3:4] == b" "]
    assert codes == [b"220", b"250", *[b"250", b"250", b"354", b"250"] * 2, b"221"]
