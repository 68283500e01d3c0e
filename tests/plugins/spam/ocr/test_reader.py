"""Images of a message: which are read, by what, how often; and a tesseract that hangs, floods or dies."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from appliance.mail.message import Message
from plugins.spam.bayes.protocol_tokens import tokens_of
from plugins.spam.ocr.config import OcrConfig
from plugins.spam.ocr.reader import Reader, worth_reading
from tests.plugins.spam.ocr.pictures import WATCHES, gif, png
from tests.plugins.spam.stranger import core_with, envelope, session


def mail(*images: bytes, subtype: str = "png") -> Message:
    message = EmailMessage()
    message["From"] = "a@x.test"
    message.set_content("see there")
    for image in images:
        message.add_attachment(image, maintype="image", subtype=subtype)
    return Message.parse(message.as_bytes().replace(b"\n", b"\r\n"))


def program(folder: Path, script: str) -> str:
    """A tesseract of our own, which notes each start."""
    path = folder / "tesseract"
    path.write_text(f"#!/bin/sh\nprintf x >> {folder}/starts\n{script}\n")
    path.chmod(0o755)
    return str(path)


def starts(folder: Path) -> int:
    file = folder / "starts"
    return len(file.read_text()) if file.exists() else 0


async def read(one: Reader, message: Message) -> tuple[list[str], list[str]]:
    """The texts, and the results of the findings."""
    said = envelope()
    texts = list(await one.message_texts(session(), said, message) or ())
    return texts, [finding.result for finding in await one.score_message(said, texts) or ()]


def reader(folder: Path, **config: Any) -> Reader:
    return Reader(core_with(folder, "", OcrConfig(**config)))


# Notes of starts need files, which the limits allow to nobody: without them.
@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "prlimit"
    path.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr("plugins.spam.ocr.tesseract._PRLIMIT", str(path))


@pytest.mark.usefixtures("unlimited")
async def test_an_image_is_read_once(tmp_path: Path) -> None:
    one = reader(tmp_path, program=program(tmp_path, 'cat > /dev/null; echo " Buy this "; echo "$@"'))
    texts, results = await read(one, mail(WATCHES))
    assert (texts, results) == (["Buy this \nstdin stdout -l eng --psm 3"], ["text"])
    assert (await read(one, mail(WATCHES, WATCHES)))[0] == texts * 2
    assert starts(tmp_path) == 1
    assert one.status(one._core) == []


@pytest.mark.parametrize(
    ("script", "seconds", "says"),
    [
        ("cat > /dev/null; sleep 60", 0.4, "took more than"),
        ("sleep 60", 0.4, "took more than"),
        ("cat > /dev/null; exec cat /dev/zero", 20.0, "too much text"),
        ("exit 3", 20.0, "status 3"),
        ("kill -9 $$", 20.0, "status -9"),
        ("while :; do :; done", 0.4, "took more than"),
        ("cat > /dev/null; exec tail /dev/zero", 20.0, "status 1"),
    ],
)
async def test_a_program_that_misbehaves(tmp_path: Path, script: str, seconds: float, says: str) -> None:
    path = tmp_path / "tesseract"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    one = reader(tmp_path, program=str(path), seconds=seconds, memory_mib=100)
    assert await read(one, mail(WATCHES)) == ([], ["unavailable"])
    ((_, words, level),) = one.status(one._core)
    assert says in words
    assert level == "warning"


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    one = reader(tmp_path, program="/nowhere/tesseract")
    assert await read(one, mail(WATCHES)) == ([], ["unavailable"])


@pytest.mark.usefixtures("unlimited")
async def test_one_at_a_time_and_one_budget_for_a_message(tmp_path: Path) -> None:
    script = f"cat > /dev/null; mkdir {tmp_path}/busy || exit 9; echo hello; rmdir {tmp_path}/busy"
    one = reader(tmp_path, program=program(tmp_path, script))
    images = [WATCHES + bytes([number]) for number in range(3)]
    both = await asyncio.gather(read(one, mail(*images)), read(one, mail(*[image + b"x" for image in images])))
    assert both == [(["hello"] * 3, ["text"])] * 2
    assert starts(tmp_path) == 6


def test_what_is_worth_reading() -> None:
    config = OcrConfig(pixels=100_000, images=2)
    assert worth_reading(mail(png(60_000, 60_000), png(30, 30), png(5000, 20), WATCHES), config) == [WATCHES]
    assert worth_reading(mail(gif((300, 300), (300, 300))), config) == []  # 180,000 pixels are decoded
    assert worth_reading(mail(*[png(300, 100 + n) for n in range(5)]), config) == [png(300, 104), png(300, 103)]
    assert worth_reading(mail(b"MZ", b"<svg/>", b"II*\0"), config) == []


async def test_mail_of_our_own_people_is_not_read(tmp_path: Path) -> None:
    one = reader(tmp_path, program="/nowhere/tesseract")
    assert await one.message_texts(session(account="ana"), envelope(), mail(WATCHES)) is None


def test_the_classifier_learns_what_images_say() -> None:
    message = mail(WATCHES)
    assert tokens_of(message, ["cheap watches"]) > tokens_of(message)


@pytest.mark.programs("tesseract")
async def test_debian_s_tesseract(tmp_path: Path) -> None:
    one = reader(tmp_path, seconds=50.0)
    texts, results = await read(one, mail(WATCHES))
    assert ([text.split() for text in texts], results) == ([["Cheap", "watches", "today"]], ["text"])
    assert await read(one, mail(WATCHES[:300])) == ([], ["unavailable"])
