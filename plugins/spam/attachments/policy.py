"""The hook: attachments by their names, by their first octets, and by what archives say they hold."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.parameters import parameter
from appliance.mail.session import Session
from appliance.mail.transfer import decoder
from plugins.spam.attachments import protocol_ole, protocol_rar, protocol_sevenzip
from plugins.spam.attachments.config import AttachmentsConfig
from plugins.spam.attachments.protocol_archive import ArchiveError, Listing, list_zip

MAX_PARTS = 500
MAX_ARCHIVE = 32 << 20  # encoded octets of an archive that is listed
HEAD = 64  # encoded octets that tell what a file is
LARGE = 256 * 1024  # decoded in a thread from here

# A harmless ending, a dot, and the real one: "invoice.pdf.exe", also with blanks that push it out of sight.
_DISGUISED = re.compile(
    r"\.(?:pdf|docx?|xlsx?|pptx?|jpe?g|png|gif|txt|html?|zip|mp[34])[\s_]*\.([a-z0-9]{1,5})$", re.IGNORECASE
)
_MAGIC = (
    (b"MZ", "a program for Windows"),
    (b"\x7fELF", "a program for Linux"),
    (b"\xca\xfe\xba\xbe", "a program for Java or macOS"),
)
# Archives by their first octets, and by names: what stands before a ZIP does not keep programs from opening it.
_ARCHIVES: tuple[tuple[bytes, str, Callable[[bytes], Listing]], ...] = (
    (b"PK\x03\x04", ".zip", list_zip),
    (protocol_rar.MARK_5[:6], ".rar", protocol_rar.list_rar),
    (protocol_sevenzip.MARK, ".7z", protocol_sevenzip.list_7z),
)
_OOXML_MACROS = "vbaproject.bin"  # in Word, Excel and PowerPoint files of 2007 and later


class Attachments:
    """Looks without unpacking."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def score_message(self, session: Session, message: Message) -> Sequence[Finding] | None:
        """One finding for each kind of thing that is wrong, with the first that shows it."""
        config = self._core.settings[AttachmentsConfig]
        if not self._core.intake.router.from_outside(session):
            return None
        if len(message.text) > LARGE:
            return await asyncio.to_thread(looked, message, config)
        return looked(message, config)


def looked(message: Message, config: AttachmentsConfig) -> list[Finding]:
    found: dict[str, Finding] = {}
    for number, part in enumerate(message.structure.walk()):
        if number >= MAX_PARTS:
            break
        if part.parts or part.message is not None:
            continue
        for finding in _of_part(message, part, config):
            found.setdefault(finding.result, finding)
    return list(found.values())


def _of_part(message: Message, part: Part, config: AttachmentsConfig) -> Iterator[Finding]:
    name = file_name(part)
    if name:
        yield from _of_name(name, "", config)
    head = _decoded(message, part, HEAD)
    kind = next((words for magic, words in _MAGIC if head.startswith(magic)), "")
    if kind:
        yield Finding("attachments", "program", text=f"{name or 'an attachment'} is {kind}", action=config.action)
    if part.size > MAX_ARCHIVE:
        return
    lister = next(
        (one for magic, ending, one in _ARCHIVES if head.startswith(magic) or name.lower().endswith(ending)), None
    )
    if lister is not None:
        yield from _of_archive(name or "an archive", _decoded(message, part, part.size), lister, config)
    elif head.startswith(protocol_ole.MARK):
        yield from _of_document(name or "a document", _decoded(message, part, part.size), config)


def _of_name(name: str, inside: str, config: AttachmentsConfig) -> Iterator[Finding]:
    where = f" in {inside}" if inside else ""
    ending = name.rpartition(".")[2].strip().lower() if "." in name else ""
    if ending in config.forbidden:
        yield Finding(
            "attachments", "forbidden", text=f"{name}{where}: no file may end in .{ending}", action=config.action
        )
    if (disguise := _DISGUISED.search(name)) is not None:
        text = f"{name}{where} pretends to be something else than .{disguise[1].lower()}"
        yield Finding("attachments", "disguised", config.disguised_score, text)


def _of_archive(
    name: str, data: bytes, lister: Callable[[bytes], Listing], config: AttachmentsConfig
) -> Iterator[Finding]:
    try:
        listing = lister(data)
    except ArchiveError as error:
        yield Finding("attachments", "unlisted", text=f"{name} {error}")
        return
    for inner in listing.names:
        yield from _of_name(inner.rpartition("/")[2], name, config)
    if any(inner.lower().endswith(_OOXML_MACROS) for inner in listing.names):
        yield _macros(name, config)
    if listing.encrypted:
        yield _encrypted(f"{name} is encrypted{', the names in it as well' if listing.hidden else ''}", config)
    if listing.is_bomb:
        text = f"{name} would become {listing.size >> 20} MiB"
        yield Finding("attachments", "bomb", config.bomb_score, text, evidence=f"{listing.packed} octets packed")


def _of_document(name: str, data: bytes, config: AttachmentsConfig) -> Iterator[Finding]:
    """A Word, Excel or PowerPoint file of before 2007, or an encrypted one of after that."""
    try:
        names = protocol_ole.ole_names(data)
    except ArchiveError as error:
        yield Finding("attachments", "unlisted", text=f"{name} {error}")
        return
    if protocol_ole.has_macros(names):
        yield _macros(name, config)
    if protocol_ole.is_encrypted(names):
        yield _encrypted(f"{name} is encrypted", config)


def _encrypted(text: str, config: AttachmentsConfig) -> Finding:
    return Finding("attachments", "encrypted", config.encrypted_score, text)


def _macros(name: str, config: AttachmentsConfig) -> Finding:
    action = None if config.on_macros == "score" else config.on_macros
    return Finding("attachments", "macros", config.macros_score, f"{name} brings macros", action=action)


def file_name(part: Part) -> str:
    """The name that a mail program would save the part under, or nothing."""
    name = parameter(part.disposition[1], "filename") if part.disposition else None
    name = name or part.param("name") or ""
    return "".join(char for char in name[:255] if char.isprintable()).rstrip(". ")


def _decoded(message: Message, part: Part, octets: int) -> bytes:
    raw = bytes(message.text[part.body_start : min(part.end, part.body_start + octets)])
    undo = decoder(part.encoding)
    return raw if undo is None else undo.feed(raw) + undo.finish()
