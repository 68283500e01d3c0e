"""Read mail by IMAP4rev1: several mail programs on the same mailboxes, told of changes at once. Settings: [imap4]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, hookimpl
from appliance.store.index import SearchIndex
from plugins.imap4.config import Imap4Config
from plugins.imap4.extraction import EXTRACTOR, Extraction
from plugins.imap4.listeners import listeners
from plugins.imap4.search_indexer import SearchIndexer
from plugins.imap4.shared import Shared


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("imap4", Imap4Config)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    shared = Shared(core)
    found: list[Service] = [*listeners(shared)]
    config = core.settings[Imap4Config]
    if config.search_index:
        soft = core.store.open_soft("index.db")
        shared.index = SearchIndex(soft, extractor=EXTRACTOR if config.search_pdf else "")
        extraction = Extraction(core.store) if config.search_pdf else None
        found.append(SearchIndexer(core.store, shared.index, extraction))
    return found
