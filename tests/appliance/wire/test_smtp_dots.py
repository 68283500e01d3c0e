"""Looking for dots one by one finds what the plain search finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.smtp import FEW_DOTS, find_dots, unstuff

lines = st.lists(st.sampled_from([b".", b"..", b"a", b"a.b", b"", b".a", b"..a", b"\r", b"\n"]), max_size=12)


@given(lines, lines, st.integers(0, 3))
def test_the_end_and_the_need_to_unstuff(before: list[bytes], after: list[bytes], start: int) -> None:
    lead = b"xyz"[:start]
    data = lead + b"\r\n".join([*before, *after])
    end, stuffed = find_dots(data, start)
    assert end == data.find(b"\r\n.\r\n", start)
    whole = data[start:end] if end >= 0 else data[start:]
    if not stuffed:
        assert unstuff(whole) == whole


@pytest.mark.parametrize("dots", [FEW_DOTS - 1, FEW_DOTS, 10 * FEW_DOTS])
def test_many_dots(dots: int) -> None:
    data = b"." * dots + b"\r\n.\r\n"
    assert find_dots(b"x" + data, 0) == (dots + 1, dots >= FEW_DOTS)
    assert find_dots(b"x" + data[:-1], 0)[0] == -1


def test_base64_is_not_searched_twice() -> None:
    assert find_dots(b"QUJD\r\n" * 1000, 0) == (-1, False)
