"""What attachments may be: by name, by content, and by what archives say they hold. Settings: [spam.attachments]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.attachments.config import AttachmentsConfig
from plugins.spam.attachments.policy import Attachments


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.attachments", AttachmentsConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Attachments(core)]
