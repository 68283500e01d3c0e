"""FETCH responses that nobody asked for: flags and modseqs that have changed, in the manner of the session. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from plugins.imap4.enabled import Enabled
from plugins.imap4.view import View


def flag_lines(
    enabled: Enabled, view: View, indexes: Sequence[int], modseqs: Sequence[int], *, flags: bool = True
) -> bytes:
    """The flags of messages, and their modseqs for a client that knows of CONDSTORE (RFC 7162 section 3.1).

    `modseqs` belong to `indexes`; they are not looked at for other clients. Without `flags` only they are told. With
    UIDONLY, UIDs take the place of message numbers, and of the UID item (RFC 9586 section 3.3).
    """
    uids = view.uids_at(indexes)
    columns: list[Sequence[int | bytes]] = [uids if enabled.uidonly else _numbers(indexes)]
    items = []
    if not enabled.uidonly:
        items.append(b"UID %d")
        columns.append(uids)
    if flags:
        items.append(b"FLAGS (%b)")
        columns.append(view.flag_texts(indexes))
    if enabled.condstore:
        items.append(b"MODSEQ (%d)")
        columns.append(modseqs)
    head = b"* %d UIDFETCH (" if enabled.uidonly else b"* %d FETCH ("
    template = head + b" ".join(items) + b")\r\n"
    return b"".join([template % row for row in zip(*columns, strict=True)])


def _numbers(indexes: Sequence[int]) -> Sequence[int]:
    if isinstance(indexes, range) and indexes.step == 1:
        return range(indexes.start + 1, indexes.stop + 1)
    return [index + 1 for index in indexes]
