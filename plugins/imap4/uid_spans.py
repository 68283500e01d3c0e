"""Ranges of UIDs, as VANISHED and known UIDs need them. Without I/O; all cost is linear in the ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from plugins.imap4.protocol_parse import SequenceSet

Span = tuple[int, int]  # first and last, both included

SPANS_A_LINE = 500  # of one VANISHED response, so that lines stay short enough for any client


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same UIDs in ascending ranges that neither overlap nor touch."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            if last > found[-1][1]:
                found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def spans_of_set(members: SequenceSet, star: int) -> list[Span]:
    """The ranges that a set on the wire means; `star` is what `*` stands for."""
    return merged((min(pair), max(pair)) for pair in ((first or star, last or star) for first, last in members))


def intersection(some: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    """What is in both; both as `merged` makes them."""
    place = 0
    for first, last in some:
        while place < len(others) and others[place][1] < first:
            place += 1
        at = place
        while at < len(others) and others[at][0] <= last:
            yield max(first, others[at][0]), min(last, others[at][1])
            at += 1


def gaps(uids: Sequence[int], last: int) -> Iterator[Span]:
    """The UIDs from 1 to `last` that are not among the ascending `uids`."""
    if isinstance(uids, range):
        edges: Iterable[Span] = [(uids.start, uids.stop - 1)] if uids else []
    else:
        edges = ((uid, uid) for uid in uids)
    following = 1
    for start, end in edges:
        if start > following:
            yield following, min(start - 1, last)
        following = end + 1
        if following > last:
            return
    if following <= last:
        yield following, last


def vanished_lines(spans: Sequence[Span], *, earlier: bool) -> bytes:
    """`* VANISHED (EARLIER) 41,43:116`, on several lines if there are many (RFC 7162 section 3.2.10)."""
    head = b"* VANISHED (EARLIER) " if earlier else b"* VANISHED "
    lines = []
    for start in range(0, len(spans), SPANS_A_LINE):
        pieces = (
            b"%d:%d" % span if span[0] < span[1] else b"%d" % span[0] for span in spans[start : start + SPANS_A_LINE]
        )
        lines.append(head + b",".join(pieces) + b"\r\n")
    return b"".join(lines)
