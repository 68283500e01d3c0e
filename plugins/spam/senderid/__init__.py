"""Sender-ID: SPF for the address in the header (RFC 4406). Informative. Settings: [spam.senderid]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.senderid.config import SenderIdConfig
from plugins.spam.senderid.mechanism import SenderId


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.senderid", SenderIdConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [SenderId(core)]
