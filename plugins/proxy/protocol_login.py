"""Who wants to log in, from the client's first SASL message: all of a login that is understood here. Pure."""

from __future__ import annotations

import re

from appliance.errors import ApplianceError

_SCRAM = re.compile(rb"[ny],(?:a=[^,\0]*)?,n=(?P<login>[^,\0]+),r=[\x21-\x2b\x2d-\x7e]+(?:,.*)?", re.DOTALL)
_OAUTHBEARER = re.compile(rb"n,a=(?P<login>[^,\0]+),\x01.*\x01\x01", re.DOTALL)
_XOAUTH2 = re.compile(rb"user=(?P<login>[^\x01\0]+)\x01auth=.*\x01\x01", re.DOTALL | re.IGNORECASE)


class NoLoginError(ApplianceError):
    """The message names nobody, or acts for somebody else."""


def login_of(mechanism: str, message: bytes) -> str:
    """The login name in a first message: of PLAIN (RFC 4616), SCRAM (RFC 5802), OAUTHBEARER (RFC 7628) or XOAUTH2.

    Raises NoLoginError.
    """
    if mechanism == "PLAIN":
        parts = message.split(b"\0")
        if len(parts) != 3 or not parts[1]:
            raise NoLoginError("malformed PLAIN message")
        return _text(parts[1])
    if mechanism == "OAUTHBEARER":
        return _unescaped(_named(_OAUTHBEARER, message))
    if mechanism == "XOAUTH2":
        return _named(_XOAUTH2, message)
    return _unescaped(_named(_SCRAM, message))


def plain(login: str, password: str) -> bytes:
    """PLAIN's message for a name and a password that came by other ways."""
    return b"\0%b\0%b" % (login.encode(), password.encode())


def _named(pattern: re.Pattern[bytes], message: bytes) -> str:
    found = pattern.fullmatch(message)
    if found is None:
        raise NoLoginError("malformed first message")
    return _text(found["login"])


def _unescaped(name: str) -> str:
    return name.replace("=2C", ",").replace("=3D", "=")  # RFC 5802 section 5.1


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NoLoginError("names are UTF-8") from None
