"""Strangers who send in our name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plugins.door.house import HELLO, house

OTHERS = (b"<a@sender.test>", b"<>", b"<nobody@elsewhere.test>")
OURS = (b"<ana@palomar.test>", b"<ana+shop@palomar.test>", b"<office@palomar.test>", b"<postmaster@palomar.test>")
NOBODY = (b"<nobody@palomar.test>", b"<anna@palomar.test>")


@pytest.mark.parametrize(
    ("settings", "facts", "ours", "nobody"),
    [
        ({}, {}, "250", "550"),
        ({"unknown_own_senders": "accept"}, {}, "250", "250"),
        ({"own_senders": "refuse"}, {}, "550", "550"),
        ({"own_senders": "refuse"}, {"peer": "127.0.0.1"}, "250", "250"),
        ({"own_senders": "refuse", "trusted": ("192.0.2.0/24",)}, {}, "250", "250"),
        ({}, {"role": "lmtp"}, "250", "250"),
    ],
)
async def test_senders_of_our_domains(
    tmp_path: Path, settings: dict[str, Any], facts: dict[str, Any], ours: str, nobody: str
) -> None:
    hello = b"LHLO mta.test\r\n" if facts.get("role") == "lmtp" else HELLO
    async with house(tmp_path, tarpit_step=0.0, **settings) as here:
        await here.office.alias("office@palomar.test", "ana@palomar.test", "luis@palomar.test")
        for senders, code in ((OTHERS, "250"), (OURS, ours), (NOBODY, nobody)):
            for sender in senders:
                codes = await here.codes(hello, b"MAIL FROM:" + sender + b"\r\n", **facts)
                assert codes == ["220", "250", code], sender


async def test_a_domain_with_a_catch_all_has_every_sender(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.office.domain("palomar.test", catch_all="ana@palomar.test")
        assert await here.codes(HELLO, b"MAIL FROM:<whoever@palomar.test>\r\n") == ["220", "250", "250"]
