"""What a filter needs of a core, and mail as strangers bring it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope
from appliance.mail.message import Message
from appliance.mail.session import Session
from appliance.routing import Router
from tests.appliance.smtpclient.fake_core import make_core

MESSAGE = Message.parse(b"From: luis@elsewhere.test\r\nSubject: Hello\r\n\r\nHow are you?\r\n")


@dataclass
class Door:
    """As much of the intake as filters ask: who is a stranger."""

    router: Router


def core_with(folder: Path, zone: str, *sections: object) -> Core:
    """A core that resolves names by `zone` alone; `sections` are the filter's settings."""
    core = make_core(folder, zone, *sections)
    core.intake = cast(Any, Door(Router(core.dispatch, core.settings[CoreConfig])))
    return core


def session(peer_ip: str = "192.0.2.7", helo: str = "mx.elsewhere.test", **more: Any) -> Session:
    """A peer at the MX port."""
    return Session("s1", **{"role": "mx", "peer_ip": peer_ip, "helo": helo, **more})


def envelope(sender: str | None = "luis@elsewhere.test") -> Envelope:
    """One sender, nobody yet to whom."""
    return Envelope(Address.parse(sender) if sender else None)
