"""The load's own honesty: sizes are exact, messages differ, compression gains no more than on real mail."""

from __future__ import annotations

import zlib

import pytest

from tests.bench.bodies import Bodies


@pytest.mark.parametrize("size", [4096, 65536, 1 << 20])
def test_messages_are_exact_different_and_hard_to_compress(size: int) -> None:
    bodies = Bodies(size)
    messages = [bodies.make(number) for number in range(5)]
    assert [len(message) for message in messages] == [size] * 5
    assert len({message[-2000:-100] for message in messages}) == 5
    for message in messages:
        assert message.count(b"\r\n") == message.count(b"\n") == message.count(b"\r")
        assert b"\n." not in message
        assert len(zlib.compress(message, 6)) >= 0.7 * size


def test_a_message_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 300"):
        Bodies(300).make(1)
