"""The service that fills the search index in the background, block by block, and never hurries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from appliance.mail.message import Message
from appliance.mail.search_text import BETWEEN, body_forms, header_forms, text_reach
from appliance.store import Store
from appliance.store.index import BLOCK_OCTETS, BODIES, LEAST_OCTETS, MOST_BODIES, BodyText, SearchIndex
from appliance.store.messages import bodies_after
from plugins.imap4.extraction import Extraction

LOOK_S = 10.0  # between looks for new bodies
SHARE = 3.0  # it rests so many times as long as it has worked
QUIET_S = 2.0  # without a commit before it works at all: mail comes first …
PATIENCE_S = 60.0  # … but not for ever


class SearchIndexer:
    """Adds a block whenever there are enough new bodies for a whole one. The few that are left are searched without."""

    name = "search-index"
    after: Sequence[str] = ()

    def __init__(self, store: Store, index: SearchIndex, extraction: Extraction | None = None) -> None:
        self._store = store
        self._index = index
        self._extraction = extraction
        self._too_little = (-1, 0)  # after which body so many were there, and too short for a block

    async def run(self, ready: Callable[[], None]) -> None:
        """Index until cancelled, and close the file then."""
        ready()
        loop = asyncio.get_running_loop()
        try:
            await self._index.begin(self._store.first_new_body)  # what is there can be used at once
            worked_at = loop.time()
            while True:
                started = loop.time()
                if self._store.quiet_s < QUIET_S and started - worked_at < PATIENCE_S:
                    await asyncio.sleep(QUIET_S)
                    continue
                more = await self.step()
                worked_at = loop.time()
                await asyncio.sleep(SHARE * (worked_at - started) if more else LOOK_S)
        finally:
            if self._extraction is not None:
                await self._extraction.close()
            await self._index.close()

    async def reload(self) -> None:
        """Nothing depends on the configuration."""

    async def step(self) -> bool:
        """Add one block if there are bodies for it. Whether there may be more."""
        index = self._index
        if not index.begun:
            await index.begin(self._store.first_new_body)
            return index.begun
        ids = await self._store.read(lambda db: bodies_after(db, index.covered, MOST_BODIES))
        extracted = await self._extracted(ids)
        state = (index.covered, len(ids))
        if len(ids) < BODIES or state == self._too_little:
            return False
        texts: list[BodyText] = []
        for start in range(0, len(ids), BODIES):
            texts += await self._texts(ids[start : start + BODIES], extracted)
            if sum(len(one.header) + len(one.text) for one in texts) >= LEAST_OCTETS or len(texts) == MOST_BODIES:
                return await index.add(_fitting(texts))
        self._too_little = state
        return False

    async def _texts(self, ids: Sequence[int], extracted: Mapping[int, bytes]) -> list[BodyText]:
        found = await self._store.each_body(ids, _text_of, reach=text_reach)
        return [
            _with_extracted(text or BodyText(body_id, b"", b""), extracted.get(body_id, b""))
            for body_id, text in zip(ids, found, strict=True)
        ]

    async def _extracted(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        """What is extracted of these bodies, each looked at once. It is kept, so that it can be searched at once."""
        if self._extraction is None:
            return {}
        known = await self._index.extracted()
        for body_id in ids:
            if body_id not in known:
                known[body_id] = await self._extraction.form_of(body_id)
                await self._index.keep_extracted(body_id, known[body_id])
        return known


def _text_of(body_id: int, message: Message) -> BodyText:
    return BodyText(body_id, header_forms(message.header), body_forms(message))


def _with_extracted(text: BodyText, extracted: bytes) -> BodyText:
    return BodyText(text.body_id, text.header, text.text + BETWEEN + extracted) if extracted else text


def _fitting(texts: Sequence[BodyText]) -> Sequence[BodyText]:
    """As many of the first as make a block of the usual size; one at least."""
    octets = 0
    for place, text in enumerate(texts):
        octets += len(text.header) + len(text.text)
        if octets > BLOCK_OCTETS:
            return texts[: max(place, 1)]
    return texts
