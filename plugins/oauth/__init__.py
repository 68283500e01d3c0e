"""Logins by access tokens of an issuer: OAUTHBEARER (RFC 7628) and XOAUTH2. Settings: [oauth]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.oauth.config import OAuthConfig
from plugins.oauth.mechanism import OAuth


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("oauth", OAuthConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [OAuth(core)]
