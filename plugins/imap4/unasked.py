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
    texts = view.flag_texts(indexes) if flags else [b""] * len(indexes)
    items = [] if enabled.uidonly else [b"UID %(uid)d"]
    if flags:
        items.append(b"FLAGS (%(flags)b)")
    if enabled.condstore:
        items.append(b"MODSEQ (%(modseq)d)")
    else:
        modseqs = [0] * len(indexes)
    head = b"* %(uid)d UIDFETCH (" if enabled.uidonly else b"* %(number)d FETCH ("
    template = head + b" ".join(items) + b")\r\n"
    return b"".join(
        [
            template % {b"number": index + 1, b"uid": uid, b"flags": text, b"modseq": modseq}
            for index, uid, text, modseq in zip(indexes, uids, texts, modseqs, strict=True)
        ]
    )
