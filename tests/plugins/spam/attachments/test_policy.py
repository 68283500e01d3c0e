"""What may not come in, however it is named, packed or disguised; and archives that lie."""

from __future__ import annotations

import base64
import contextlib
import io
import zipfile
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from plugins.spam.attachments.config import AttachmentsConfig
from plugins.spam.attachments.policy import Attachments
from plugins.spam.attachments.protocol_archive import MAX_ENTRIES, ArchiveError, list_zip
from tests.plugins.spam.attachments.packed import ole, rar4, rar5
from tests.plugins.spam.stranger import core_with, session


def zipped(*names: str, text: bytes = b"text", flag: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, text)
    data = bytearray(out.getvalue())
    if flag:
        data[data.find(b"PK\x01\x02") + 8] |= flag
    return bytes(data)


def mail(name: str, content: bytes) -> Message:
    message = EmailMessage()
    message["From"] = "a@x.test"
    message.set_content("see there")
    message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return Message.parse(message.as_bytes().replace(b"\n", b"\r\n"))


async def found(folder: Path, message: Message, **config: Any) -> dict[str, str | None]:
    one = Attachments(core_with(folder, "", AttachmentsConfig(**config)))
    return {finding.result: finding.action for finding in await one.score_message(session(), message) or ()}


@pytest.mark.parametrize(
    ("name", "content", "results"),
    [
        ("letter.pdf", b"%PDF-1.4", set()),
        ("letter.EXE", b"text", {"forbidden"}),
        ("letter.exe. ", b"text", {"forbidden"}),
        ("letter.pdf", b"MZ\x90\x00" + b"\0" * 100, {"program"}),
        ("letter", b"\x7fELF\x02" + b"\0" * 100, {"program"}),
        ("invoice.pdf.exe", b"text", {"forbidden", "disguised"}),
        ("invoice.pdf      .scr", b"text", {"forbidden", "disguised"}),
        ("notes.tar.gz", b"text", set()),
        ("files.zip", zipped("a.txt", "b/c.pdf"), set()),
        ("files.zip", zipped("a.txt", "b/run.js"), {"forbidden"}),
        ("files.bin", zipped("run.vbs"), {"forbidden"}),
        ("files.zip", zipped("a.txt", flag=1), {"encrypted"}),
        ("files.zip", zipped("big", text=b"\0" * (20 << 20)), {"bomb"}),
        ("files.zip", zipped("a.txt")[:-10], {"unlisted"}),
        ("files.zip", b"anything" + zipped("run.js"), {"forbidden"}),
        ("files.rar", rar5("a.txt", "run.js"), {"forbidden"}),
        ("files.bin", rar4("a.txt", "b.pdf.exe"), {"forbidden", "disguised"}),
        ("files.rar", rar5("a.txt", encrypted=True), {"encrypted"}),
        ("files.rar", rar4(hidden=True), {"encrypted"}),
        ("files.rar", rar5("a.txt", size=1 << 40), {"bomb"}),
        ("files.7z", b"7z\xbc\xaf\x27\x1c", {"unlisted"}),
        ("letter.docx", zipped("word/document.xml"), set()),
        ("letter.docm", zipped("word/document.xml", "word/vbaProject.bin"), {"macros"}),
        ("letter.doc", ole("WordDocument", "Macros", "_VBA_PROJECT"), {"macros"}),
        ("letter.doc", ole("WordDocument"), set()),
        ("letter.xlsx", ole("EncryptionInfo", "EncryptedPackage"), {"encrypted"}),
        ("letter.doc", ole("WordDocument")[:600], {"unlisted"}),
    ],
)
async def test_an_attachment(tmp_path: Path, name: str, content: bytes, results: set[str]) -> None:
    assert set(await found(tmp_path, mail(name, content))) == results


async def test_the_action_is_the_administrator_s(tmp_path: Path) -> None:
    assert await found(tmp_path, mail("a.exe", b"x")) == {"forbidden": "refuse"}
    assert await found(tmp_path, mail("a.exe", b"x"), action="junk") == {"forbidden": "junk"}
    assert await found(tmp_path, mail("a.exe", b"x"), forbidden=("zip",)) == {}
    document = mail("a.doc", ole("Macros"))
    assert await found(tmp_path, document) == {"macros": None}
    assert await found(tmp_path, document, on_macros="quarantine") == {"macros": "quarantine"}


async def test_names_in_other_forms(tmp_path: Path) -> None:
    head = b"From: a@x.test\r\nContent-Type: application/octet-stream; name*=utf-8''a%2Eexe\r\n\r\ntext\r\n"
    assert await found(tmp_path, Message.parse(head)) == {"forbidden": "refuse"}
    large = mail("x.zip", zipped(*(f"{n}.txt" for n in range(3000)), "run.exe", text=b"x" * 100))
    assert len(large.text) > 256 * 1024
    assert await found(tmp_path, large) == {"forbidden": "refuse"}


async def test_mail_of_our_own_people_passes(tmp_path: Path) -> None:
    one = Attachments(core_with(tmp_path, "", AttachmentsConfig()))
    assert await one.score_message(session(account="ana"), mail("a.exe", b"x")) is None


def test_a_directory_as_python_reads_it() -> None:
    data = zipped("a.txt", "ü/b.txt", text=b"1234567")
    listing = list_zip(data)
    assert listing.names == ("a.txt", "ü/b.txt")
    assert (listing.size, listing.encrypted, listing.is_bomb) == (14, False, False)


def test_a_directory_with_extra_fields_and_comments() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("a.txt", "b.txt"):
            entry = zipfile.ZipInfo(name)
            entry.extra, entry.comment = b"\x99\x99\x02\x00xy", b"a word"
            archive.writestr(entry, b"text")
        archive.comment = b"of the whole"
    assert list_zip(out.getvalue()).names == ("a.txt", "b.txt")


def test_a_directory_of_too_many() -> None:
    data = bytearray(zipped("a"))
    at = data.rfind(b"PK\x05\x06")
    data[at + 10 : at + 12] = (MAX_ENTRIES + 1).to_bytes(2, "little")
    with pytest.raises(ArchiveError):
        list_zip(bytes(data))


@given(st.binary(max_size=200), st.integers(0, 300), st.binary(max_size=8))
def test_any_octets_are_listed_or_refused(noise: bytes, place: int, change: bytes) -> None:
    data = zipped("a.txt", "b.txt")
    broken = data[:place] + change + data[place + len(change) :]
    for octets in (noise, broken, noise + data):
        with contextlib.suppress(ArchiveError):
            assert len(list_zip(octets).names) <= MAX_ENTRIES


@given(st.binary(max_size=120))
def test_base64_of_anything_is_looked_at(content: bytes) -> None:
    encoded = base64.b64encode(b"MZ" + content)
    text = b"From: a\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded + b"\r\n"
    from plugins.spam.attachments.policy import looked

    assert {finding.result for finding in looked(Message.parse(text), AttachmentsConfig())} == {"program"}
