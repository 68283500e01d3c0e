"""The judge: from findings to what is done with a message, recipient by recipient. Settings: [spam.judge]."""

from __future__ import annotations

from collections.abc import Sequence

import click

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.judge.config import JudgeConfig
from plugins.spam.judge.experience import Experience
from plugins.spam.judge.protocol_weights import Weights
from plugins.spam.judge.verdicts import Judge


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.judge", JudgeConfig)]


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.spam.judge.command import spam

    return [spam]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    weights = Weights()
    return [Judge(core, weights), Experience(core, weights)]
