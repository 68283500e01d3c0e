"""Greylisting: strangers whom nothing proves must come twice (RFC 6647). Settings: [spam.greylist]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.greylist.config import GreylistConfig
from plugins.spam.greylist.greylist import Greylist


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.greylist", GreylistConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Greylist(core)]
