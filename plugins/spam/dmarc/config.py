"""The settings of DMARC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.config import setting, within
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address
from plugins.spam.dmarc.protocol_report import Form


@dataclass(frozen=True, kw_only=True, slots=True)
class DmarcConfig:
    """[spam.dmarc]"""

    on_reject: Literal["refuse", "quarantine", "junk", "score"] = setting(
        "refuse",
        "What follows where a domain asks to reject what it has not sent, and where the author is not clear; "
        "score adds fail_score alone.",
    )
    on_quarantine: Literal["quarantine", "junk", "score"] = setting(
        "junk", "What follows where a domain asks to put aside what it has not sent."
    )
    fail_score: float = setting(4.0, "Weight of a fail where the domain has a policy to reject or to put aside.")
    none_score: float = setting(1.0, "Weight of a fail where the domain only watches (p=none).")
    pass_score: float = setting(-0.5, "Weight of a pass.")
    suffix_list: Path | None = setting(
        None, "A newer public suffix list (the file of publicsuffix.org) than the one that came with Palomar."
    )

    report_address: str = setting(
        "",
        "Address of ours that sends daily reports to domains that ask for them, and takes those of others about our"
        " domains, whose numbers are shown then. Empty: no reports, neither way. A change takes a restart.",
    )
    send_reports: bool = setting(True, "Count and send reports, if there is a report_address.")
    organization: str = setting("", "How we call ourselves in reports; empty takes hostname.")
    report_format: Form = setting(
        "rfc7489", "Form of the reports that we send; whoever reads rfc9990, the successor's, reads both."
    )

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and a list that is not there."""
        yield from within(self, -100, 100, "fail_score", "none_score", "pass_score")
        if self.report_address:
            try:
                Address.parse(self.report_address)
            except AddressError as error:
                yield Problem("report_address", f"is no address: {error}.", 'Write it like "dmarc@office.example".')
        if self.suffix_list is not None and not self.suffix_list.is_file():
            yield Problem("suffix_list", f"there is no file {self.suffix_list}.", "Name the list, or leave it out.")
