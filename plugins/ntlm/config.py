"""The settings of logins by NTLM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from appliance.config import domain_name, setting
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class NtlmConfig:
    """[ntlm]"""

    domain: str = setting(
        "", 'Domain of names without one: "ana", or OFFICE\\ana, becomes "ana@" and this. Without it they are nobody.'
    )

    def problems(self) -> Iterator[Problem]:
        """A domain that is none, and a library that is missing."""
        if self.domain:
            yield from domain_name("domain", self.domain)
        if find_spec("spnego") is None:
            text = "pyspnego, which reads NTLM messages, is not installed."
            yield Problem("domain", text, "Install palomar[ntlm], or take ntlm out of plugins.")
