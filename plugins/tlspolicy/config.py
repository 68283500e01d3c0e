"""The settings of TLS policies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import domain_name, setting, within
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address


@dataclass(frozen=True, kw_only=True, slots=True)
class TlspolicyConfig:
    """[tlspolicy]"""

    dane: bool = setting(True, "Hold exchangers to their TLSA records (DANE). It takes a validating resolver.")
    mta_sts: bool = setting(True, "Fetch and follow the MTA-STS policies of other domains.")
    memory_days: float = setting(
        30.0, "Days for which a domain that spoke TLS is not spoken to with less; 0 remembers nothing."
    )
    fetch_timeout: float = setting(20.0, "Seconds to fetch a policy or to hand over a report by HTTPS.")
    https_port: int = setting(443, "Port where policies are fetched. Change it only for tests.")
    reports: bool = setting(True, "Count how TLS went and report it daily to domains that ask for it (TLSRPT).")
    organization: str = setting("", "How we call ourselves in reports; empty takes hostname.")
    report_address: str = setting(
        "",
        "Address of ours that sends reports and receives those of others, whose numbers are shown then."
        " Empty takes postmaster at the first domain.",
    )
    publish: Literal["none", "testing", "enforce"] = setting(
        "testing", "What our own policy asks of those who send to us."
    )
    publish_mx: tuple[str, ...] = setting((), "Our exchangers in that policy; empty takes hostname. `*.` is allowed.")
    publish_max_age_days: float = setting(7.0, "Days for which others may keep our policy.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and names and addresses that are none."""
        yield from within(self, 0, 3650, "memory_days", unit="days")
        yield from within(self, 1, 50, "fetch_timeout", unit="s")
        yield from within(self, 1, 65_535, "https_port")
        yield from within(self, 1 / 24, 365, "publish_max_age_days", unit="days")
        for name in self.publish_mx:
            yield from domain_name("publish_mx", name.removeprefix("*."))
        if self.report_address:
            try:
                Address.parse(self.report_address)
            except AddressError as error:
                yield Problem("report_address", f"is no address: {error}.", 'Write it like "tls@office.example".')
