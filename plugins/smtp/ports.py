"""The ports of the role: MX, submission, submission over TLS, LMTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.core import Core
from appliance.listener import Limits, Listener, addresses_of
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import SmtpServer
from plugins.smtp.session import SmtpSession


@dataclass(frozen=True, slots=True)
class Port:
    """One kind of port. `setting` names the field of SmtpConfig that holds its addresses."""

    name: str
    role: str
    setting: str
    implicit_tls: bool = False


PORTS = (
    Port("smtp", "mx", "mx"),
    Port("submission", "submission", "submission"),
    Port("submissions", "submission", "submissions", implicit_tls=True),
    Port("lmtp", "lmtp", "lmtp"),
)


def listeners(core: Core, extensions: Sequence[str]) -> list[Listener]:
    """One listener per kind of port; it follows the addresses in the settings. `extensions` are added to EHLO."""
    asked: dict[str, float] = {}
    return [_listener(core, port, extensions, asked) for port in PORTS]


def _listener(core: Core, port: Port, extensions: Sequence[str], etrn_asked: dict[str, float]) -> Listener:
    config = core.settings[SmtpConfig]
    listener = Listener(
        port.name,
        addresses_of(core, SmtpConfig, port.setting),
        machine=lambda: SmtpServer(core.settings[SmtpConfig].max_size),
        serve=lambda connection: SmtpSession(
            core, connection, port.role, extensions, listener.stress, etrn_asked=etrn_asked
        ).run(),
        certificates=core.certificates,
        implicit_tls=port.implicit_tls,
        logins=port.role == "submission",
        limits=Limits(
            max_connections=config.max_connections,
            max_per_peer=config.max_per_peer,
            stress=config.max_connections * config.stress_percent // 100,
        ),
        busy_reply=b"421 4.3.2 Too many connections, try again later\r\n",
        setting=f"smtp.{port.setting}",
    )
    return listener
