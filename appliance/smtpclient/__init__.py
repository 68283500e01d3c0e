"""Sending by SMTP and LMTP.

One next hop's terms (`hop`), finding an address of it that answers (`dial`), a connection to it (`client`, `login`),
one message on its way (`prepare`, `transaction`), and connections kept for the next one (`pool`).
"""

from __future__ import annotations

from appliance.smtpclient.client import SmtpClient
from appliance.smtpclient.deadhosts import DeadHosts
from appliance.smtpclient.dial import reach
from appliance.smtpclient.hop import (
    CertificateCheck,
    Contexts,
    Hop,
    HopError,
    Login,
    Observer,
    Timeouts,
    TlsLevel,
    TlsPolicy,
    outcomes_of,
)
from appliance.smtpclient.pool import SmtpPool

__all__ = [
    "CertificateCheck",
    "Contexts",
    "DeadHosts",
    "Hop",
    "HopError",
    "Login",
    "Observer",
    "SmtpClient",
    "SmtpPool",
    "Timeouts",
    "TlsLevel",
    "TlsPolicy",
    "outcomes_of",
    "reach",
]
