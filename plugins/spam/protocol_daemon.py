"""Filters of other makers that run as daemons: where they listen, and what is said of an answer that is none. Pure."""

from __future__ import annotations

from appliance.errors import ApplianceError

FORMS = 'Write it like "unix:/run/NAME/socket" or "192.0.2.5:1234".'


class DaemonError(ApplianceError):
    """The daemon did not answer, or not what was asked. The text is a sentence."""


def read_socket(text: str) -> tuple[str, int] | None:
    """Address and port of `address:port`, the path and 0 of `unix:/path`; None for what is neither."""
    if text.startswith("unix:"):
        return (text[5:], 0) if text[5:].startswith("/") else None
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


def shown(octets: bytes) -> str:
    """The beginning of an answer that is none, for people."""
    return "".join(char for char in octets[:100].decode("ascii", "replace") if " " <= char <= "~")
