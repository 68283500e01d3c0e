"""The hooks: which images of a message are worth reading, and what stands in them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.session import Session
from appliance.mail.transfer import decoder
from plugins.spam.ocr.config import OcrConfig
from plugins.spam.ocr.protocol_image import Size, image_size
from plugins.spam.ocr.tesseract import OcrError, read_image

NAME = "ocr"
MAX_PARTS = 200
MAX_IMAGE = 8 << 20  # encoded octets
CACHED = 500  # texts of images that came before: the same picture comes with many messages
MAX_TEXT = 4000  # characters of one image that filters get
MAX_WAITING = 200  # messages whose findings have not been asked for
MIN_WIDTH, MIN_HEIGHT, MAX_STRETCH = 80, 16, 40  # smaller ones are dots and buttons, longer ones rules
_OTHER_TYPES = frozenset(("octet-stream", "binary", "download", "force-download"))


class Reader:
    """Reads one image at a time, whoever asks."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turn = asyncio.Lock()
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._problems: OrderedDict[int, str] = OrderedDict()  # by the id of an envelope that is being judged
        self._problem = ""

    @hookimpl
    async def message_texts(self, session: Session, envelope: Envelope, message: Message) -> Sequence[str] | None:
        """What the images of a stranger's message say, within the budget of one message."""
        if not self._core.intake.router.from_outside(session):
            return None
        config = self._core.settings[OcrConfig]
        texts: list[str] = []
        deadline = asyncio.get_running_loop().time() + config.seconds
        for image in await asyncio.to_thread(worth_reading, message, config):
            try:
                text = await self._read(image, config, deadline)
                self._problem = ""
            except (OcrError, TimeoutError) as error:
                self._problem = str(error) or f"the images of a message took more than {config.seconds:g} s"
                self._problems[id(envelope)] = self._problem
                while len(self._problems) > MAX_WAITING:
                    self._problems.popitem(last=False)
                continue
            if text:
                texts.append(text)
        return texts

    @hookimpl
    async def score_message(self, envelope: Envelope, texts: Sequence[str]) -> Sequence[Finding] | None:
        """What was read, for `palomar spam why`; other filters weigh it."""
        found = []
        if (problem := self._problems.pop(id(envelope), "")) != "":
            found.append(Finding(NAME, "unavailable", text=problem))
        if texts:
            shown = " ".join(" ".join(texts).split())[:120]
            score = self._core.settings[OcrConfig].text_score  # without any it would not stand in the trace
            found.append(Finding(NAME, "text", score, f"{len(texts)} of its images say something", evidence=shown))
        return found

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That images cannot be read."""
        return [("OCR", self._problem, "warning")] if self._problem else []

    async def _read(self, image: bytes, config: OcrConfig, deadline: float) -> str:
        """The text of one image, from the cache if it was there before. Raises OcrError, TimeoutError."""
        key = hashlib.sha256(image).digest()
        async with asyncio.timeout_at(deadline), self._turn:
            if key not in self._texts:
                left = deadline - asyncio.get_running_loop().time()
                text = await read_image(image, config, max(0.1, left))
                self._texts[key] = text.strip()[:MAX_TEXT]
                while len(self._texts) > CACHED:
                    self._texts.popitem(last=False)
            self._texts.move_to_end(key)
            return self._texts[key]


def worth_reading(message: Message, config: OcrConfig) -> list[bytes]:
    """The largest images that may hold text and that it is safe to decode."""
    found = sorted(_images(message, config), key=lambda one: -one[0].pixels)
    return [image for _, image in found[: config.images]]


def _images(message: Message, config: OcrConfig) -> Iterator[tuple[Size, bytes]]:
    for number, part in enumerate(message.structure.walk()):
        if number >= MAX_PARTS:
            return
        if not _may_be_image(part) or part.size > MAX_IMAGE:
            continue
        raw, undo = bytes(message.text[part.body_start : part.end]), decoder(part.encoding)
        image = raw if undo is None else undo.feed(raw) + undo.finish()
        size = image_size(image)
        if size is not None and looks_like_text(size, config.pixels):
            yield size, image


def _may_be_image(part: Part) -> bool:
    return part.type == "image" or (part.type == "application" and part.subtype in _OTHER_TYPES)


def looks_like_text(size: Size, most_pixels: int) -> bool:
    """Whether an image of that size can hold words, and may be decoded."""
    narrow, wide = sorted((size.width, size.height))
    return (
        size.pixels <= most_pixels
        and size.width >= MIN_WIDTH
        and size.height >= MIN_HEIGHT
        and wide <= MAX_STRETCH * narrow
    )
