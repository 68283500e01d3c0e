"""The plugin as it is loaded: its settings, its objects, its status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.config import CoreConfig, Settings
from plugins import door
from plugins.door.config import DoorConfig, OutboundConfig
from plugins.mda.config import MdaConfig
from tests.appliance.office import office
from tests.plugins.door.house import LUIS


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({}, []),
        ({"trusted": ("192.168.1.0/24", "10.0.0.1/8", "lan")}, ["trusted[1]", "trusted[2]"]),
        ({"ipv4_prefix": 33, "ipv6_prefix": 65}, ["ipv4_prefix", "ipv6_prefix"]),
        ({"greet_wait": 10.0, "tarpit_most": 26.0}, ["greet_wait", "tarpit_most"]),
        ({"harvest_share": 0.0, "callout_timeout": 20.0}, ["harvest_share", "callout_timeout"]),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], wrong: list[str]) -> None:
    assert [problem.setting for problem in DoorConfig(**settings).problems()] == wrong


def test_limits_that_cannot_be() -> None:
    assert list(OutboundConfig().problems()) == []
    assert [one.setting for one in OutboundConfig(bounce_share=0.0, bounces=-1).problems()] == [
        "bounces",
        "bounce_share",
    ]


async def test_it_is_loaded_with_its_service_and_says_nothing_while_all_is_quiet(tmp_path: Path) -> None:
    config = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",), data=tmp_path)
    assert config.plugins[0] == "door"
    async with office(tmp_path, ("door", door), config=config) as here:
        core = here.core
        core.settings = Settings.of(config, MdaConfig(), DoorConfig(), OutboundConfig())
        assert [service.name for _, service in core.dispatch.gather("services", core=core)] == ["door"]
        assert core.dispatch.gather("status", core=core) == []
        assert (await here.send(LUIS)).positive
