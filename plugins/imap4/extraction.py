"""Texts of attachments that only a parser of their own can read, extracted by bounded children: PDF files."""

from __future__ import annotations

import logging

from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.search_text import BETWEEN, encoded, pdf_parts
from appliance.mail.text import part_octets, search_form
from appliance.store import Store
from appliance.worker import Limits, Worker, WorkerError

EXTRACTOR = "pdf 1"  # another name when what is found changes: the index is made anew then
LIMITS = Limits(cpu_s=20, deadline_s=60, memory_octets=192 << 20, output_octets=1 << 20, input_octets=16 << 20)

log = logging.getLogger(__name__)


class Extraction:
    """What PDF files say. Whatever one of them does to its parser, the others are read."""

    def __init__(self, store: Store, worker: Worker | None = None) -> None:
        self._store = store
        self._worker = worker or Worker("appliance.mail.pdf:pdf_text", LIMITS)

    async def form_of(self, body_id: int) -> bytes:
        """The extracted texts of one body in their search form; nothing if it is gone."""
        (files,) = await self._store.each_body([body_id], _pdf_files, reach=_pdf_reach)
        forms = [await self._form(body_id, octets) for octets in files or ()]
        return BETWEEN.join(form for form in forms if form)

    async def _form(self, body_id: int, octets: bytes) -> bytes:
        try:
            text = await self._worker.run(octets)
        except WorkerError as error:
            log.info("a PDF file of body %d is searched as far as it can be read: %s", body_id, error)
            text = error.partial
        return encoded(search_form(text.decode("utf-8", "replace")))

    async def close(self) -> None:
        """End the child."""
        await self._worker.close()


def _pdf_reach(structure: Part) -> int:
    return max((part.end for part in pdf_parts(structure)), default=0)


def _pdf_files(body_id: int, message: Message) -> list[bytes]:
    return [part_octets(part, message.text, part.size) for part in pdf_parts(message.structure)]
