"""Who may log in: verifiers, SASL exchanges, and the brakes on guessing.

The roles use three things: `Authenticator.mechanisms` (what to offer now), `Authenticator.login` (a name and a
password), and `Authenticator.begin` (a SASL exchange, stepped line by line). Whatever goes wrong with a name or a
password has one text and takes one time, known account or not.
"""

from __future__ import annotations

from appliance.auth.authenticator import Authenticator
from appliance.auth.config import AuthConfig
from appliance.auth.credentials import Credential, make_credentials
from appliance.auth.exchange import (
    Authenticated,
    Challenge,
    Exchange,
    Refused,
    SaslConversation,
    SaslMachine,
    SaslMechanism,
)
from appliance.auth.passwords import TemporaryAuthError
from appliance.auth.secret import installation_secret

__all__ = [
    "AuthConfig",
    "Authenticated",
    "Authenticator",
    "Challenge",
    "Credential",
    "Exchange",
    "Refused",
    "SaslConversation",
    "SaslMachine",
    "SaslMechanism",
    "TemporaryAuthError",
    "installation_secret",
    "make_credentials",
]
