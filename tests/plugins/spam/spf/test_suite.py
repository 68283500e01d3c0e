"""The openspf.org suite for RFC 7208 (203 cases, BSD-3), each with its own DNS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.dns import Answer, NoSuchDomainError, TemporaryDnsError
from plugins.spam.spf.evaluation import Asked, check_host, peer_address

SUITE = Path(__file__).parents[5] / "shared" / "vectors" / "spf" / "rfc7208-tests.yml"


class Zone:
    """The suite's own notation: SPF stands for TXT where a name has no TXT, TIMEOUT for an answer that never comes."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        self.data = {name.lower(): entries for name, entries in data.items()}

    async def look_up(self, name: str, rdtype: str, links: int = 8) -> Answer:
        entries = self.data.get(name.lower().rstrip("."))
        if entries is None:
            raise NoSuchDomainError(name)
        has_txt = any(entry == "TIMEOUT" or "TXT" in entry for entry in entries)
        records: list[Any] = []
        for entry in entries:
            if entry == "TIMEOUT":
                if records:
                    break
                raise TemporaryDnsError(f"{name}: timed out")
            ((kind, value),) = entry.items()
            if kind == "CNAME" and rdtype != "CNAME":
                if not links:
                    raise TemporaryDnsError(f"{name}: too many CNAMEs")
                return await self.look_up(value, rdtype, links - 1)
            if kind == "SPF" and not has_txt:
                kind = "TXT"
            if kind == rdtype and value != "NONE":
                records.append(_record(rdtype, value))
        return Answer(tuple(records), 300)


def _record(rdtype: str, value: Any) -> Any:
    if rdtype == "TXT":
        return "".join(value if isinstance(value, list) else [value]).encode("utf-8")
    if rdtype == "MX":
        return value[0], value[1].lower().rstrip(".") or "."
    return value.lower().rstrip(".")


def cases() -> list[Any]:
    return [
        pytest.param(section, case, id=f"rfc7208-{name}")
        for section in yaml.safe_load_all(SUITE.read_text(encoding="utf-8"))
        for name, case in section["tests"].items()
    ]


@pytest.mark.parametrize(("section", "case"), cases())
def test_case(section: dict[str, Any], case: dict[str, Any]) -> None:
    sender = case["mailfrom"] or f"postmaster@{case['helo']}"
    if sender.startswith("@"):
        sender = f"postmaster{sender}"
    asked = Asked(peer_address(case["host"]), case["helo"], sender)
    verdict = asyncio.run(check_host(Zone(section["zonedata"]), asked, asked.sender_domain, receiver="receiver.test"))
    wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert verdict.result in wanted, verdict
    if verdict.result == "fail" and "explanation" in case:
        default = "DEFAULT" if case["explanation"] == "DEFAULT" else ""
        assert (verdict.explanation or default) == case["explanation"]
