"""Logins by NTLM, Microsoft's "Secure Password Authentication": for old mail programs only. Settings: [ntlm].

Needs the extra `palomar[ntlm]`.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.auth import SaslMachine
from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.ntlm.config import NtlmConfig


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("ntlm", NtlmConfig)]


@hookimpl
def sasl_mechanisms(core: Core) -> Sequence[SaslMachine]:
    from plugins.ntlm.mechanism import Ntlm  # 14 MiB, for whoever has switched it on

    return [Ntlm(core)]
