"""Brand indicators: where the author's domain says that its picture is (BIMI). Informative. Settings: [spam.bimi]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.bimi.config import BimiConfig
from plugins.spam.bimi.mechanism import Bimi


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.bimi", BimiConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Bimi(core)]
