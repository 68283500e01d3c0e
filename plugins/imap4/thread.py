"""THREAD and UID THREAD (RFC 5256 section 3)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from appliance.mail.headers import unfold
from appliance.store.messages import threadable
from plugins.imap4.answer_cache import Asked
from plugins.imap4.batches import spans
from plugins.imap4.columns import BATCH
from plugins.imap4.protocol_command import Thread
from plugins.imap4.protocol_respond import CRLF
from plugins.imap4.refusal import RefusalError
from plugins.imap4.search import found_by
from plugins.imap4.search_match import field_pattern
from plugins.imap4.sort_keys import MAX_REFERENCES, message_ids, octets, read_envelope, sent_at, subject_of
from plugins.imap4.thread_build import Letter, by_references, by_subject, written

if TYPE_CHECKING:
    from appliance.store import Database
    from plugins.imap4.session import ImapSession

MAX_THREADED = 100_000  # messages of one THREAD: some 60 MB while it is worked out

_REFERENCES = field_pattern(b"references")


async def thread(session: ImapSession, command: Thread) -> str:
    """Answer with the messages that match, as conversations."""
    indexes, _ = await found_by(session, command)
    if len(indexes) > MAX_THREADED:
        raise RefusalError(f"At most {MAX_THREADED} messages are grouped at once; search for fewer", "LIMIT")
    view = session.mailbox.view
    uids = view.uids_at(indexes)
    numbers = uids if command.uid else [index + 1 for index in indexes]
    asked = Asked(session.mailbox.mailbox_id, command.algorithm, array("I", uids), array("I", numbers))
    threads = session.shared.answers.get(asked)
    if threads is None:
        threads = await _threads(session, asked)
        session.shared.answers.keep(asked, threads)
    session.connection.write(b"* THREAD" + (b" " + threads if threads else b"") + CRLF)
    return f"{command.verb} completed"


async def _threads(session: ImapSession, asked: Asked) -> bytes:
    by_message = asked.question == "REFERENCES"
    letters: list[Letter] = []
    places = array("I")
    for start in range(0, len(asked.uids), BATCH):
        uids = asked.uids[start : start + BATCH]

        def read(db: Database, uids: Sequence[int] = uids) -> dict[int, Letter]:
            rows = (row for span in spans(uids) for row in threadable(db, asked.mailbox_id, *span))
            return dict(_letters(rows, with_references=by_message))

        found = await session.core.store.read(read)
        for place, uid in enumerate(uids, start):
            if letter := found.get(uid):  # else the message is gone
                letters.append(letter)
                places.append(place)

    def build(db: Database) -> bytes:
        forest = by_references(letters) if by_message else by_subject(letters)
        return written(forest, [asked.numbers[place] for place in places])

    return await session.core.store.read(build)


def _letters(rows: Iterable[tuple[int, int, bytes, bytes]], *, with_references: bool) -> Iterable[tuple[int, Letter]]:
    """(uid, what threading looks at), from (uid, internal_at, envelope, header)."""
    for uid, internal_at, stored, header in rows:
        envelope = read_envelope(stored)
        subject, is_answer = subject_of(envelope.subject)
        ids = tuple(message_ids(octets(envelope.message_id))) if with_references else ()
        references = _references(header, envelope.in_reply_to) if with_references else ()
        yield uid, Letter(ids[0] if ids else b"", references, subject, is_answer, sent_at(envelope, internal_at))


def _references(header: bytes, in_reply_to: bytes) -> tuple[bytes, ...]:
    """References if that names any message, else the first of In-Reply-To (RFC 5256 section 3, step 1)."""
    match = _REFERENCES.search(header)
    found = tuple(message_ids(unfold(match[1]))) if match else ()
    return found[-MAX_REFERENCES:] or tuple(message_ids(octets(in_reply_to)))[:1]
