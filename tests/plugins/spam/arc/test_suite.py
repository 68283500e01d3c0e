"""ValiMail's ARC suite: 171 chains to validate, each with its own DNS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.dns import Answer, NoSuchDomainError
from appliance.mail.message import Message, with_crlf
from plugins.spam.arc.chain import validate

SUITE = Path(__file__).parents[5] / "shared" / "vectors" / "arc" / "arc-draft-validation-tests.yml"


class Zone:
    """TXT records alone."""

    def __init__(self, records: dict[str, str]) -> None:
        self.records = {name.lower(): text for name, text in records.items()}

    async def look_up(self, name: str, rdtype: str) -> Answer:
        assert rdtype == "TXT"
        if name.lower() not in self.records:
            raise NoSuchDomainError(name)
        return Answer((self.records[name.lower()].encode(),), 300)


def cases() -> list[Any]:
    return [
        pytest.param(section, case, id=f"arc_suite-{name}")
        for section in yaml.safe_load_all(SUITE.read_text(encoding="utf-8"))
        for name, case in section["tests"].items()
    ]


@pytest.mark.parametrize(("section", "case"), cases())
def test_case(section: dict[str, Any], case: dict[str, Any]) -> None:
    message = Message.parse(with_crlf(case["message"].encode()))
    chain = asyncio.run(validate(message, Zone(section["txt-records"])))
    wanted = {"None": {"none"}, "Pass": {"pass"}, "Fail": {"fail"}, "": {"fail", "none"}}[case["cv"] or ""]
    assert chain.result in wanted, chain
