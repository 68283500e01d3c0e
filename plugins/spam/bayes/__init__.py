"""Learns from the office's own mail what is spam and what is not. Settings: [spam.bayes]."""

from __future__ import annotations

from collections.abc import Sequence

import click

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.bayes.bayes import Bayes
from plugins.spam.bayes.config import BayesConfig


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.bayes", BayesConfig)]


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.spam.bayes.command import bayes

    return [bayes]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Bayes(core)]
