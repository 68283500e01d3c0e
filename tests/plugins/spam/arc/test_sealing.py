"""Sets that we make: on ValiMail's messages, checked by dkimpy; what is changed after them; when none is made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import dkim
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from appliance.mail.message import Message, with_crlf
from plugins.spam.arc.chain import validate
from plugins.spam.arc.protocol_sets import read_sets, seal_input
from plugins.spam.arc.sealing import seal
from plugins.spam.dkim.keys import fetch_key
from plugins.spam.dkim.signing import SigningKey
from plugins.spam.dkim.verification import Bodies
from tests.plugins.spam.arc.test_suite import Zone

SUITE = Path(__file__).parents[5] / "shared" / "vectors" / "arc" / "arc-draft-sign-tests.yml"


def cases() -> list[Any]:
    return [
        pytest.param(section, case, id=f"arc_suite-sign-{name}")
        for section in yaml.safe_load_all(SUITE.read_text(encoding="utf-8"))
        for name, case in section["tests"].items()
    ]


async def sealed(section: dict[str, Any], text: bytes, at: int) -> Message | None:
    private = load_pem_private_key(section["privatekey"].encode(), None)
    key = SigningKey(section["domain"], section["sel"], private)  # type: ignore[arg-type]
    message = Message.parse(text)
    chain = await validate(message, Zone(section["txt-records"]))
    digest = await Bodies(message).digest("relaxed")
    return seal(message, key, digest, chain=chain, results="spf=pass", authserv_id="lists.example.org", now=at)


@pytest.mark.parametrize(("section", "case"), cases())
def test_another_implementation_agrees(section: dict[str, Any], case: dict[str, Any]) -> None:
    message = asyncio.run(sealed(section, with_crlf(case["message"].encode()), case["t"]))
    if not case["AS"]:
        assert message is None
        return
    assert message is not None
    seal_of_ours = read_sets(message.fields())[-1].sealed
    state = case["AS"].partition("cv=")[2].partition(";")[0]
    assert seal_of_ours.state == state
    records = {name.lower().encode() + b".": text.encode() for name, text in section["txt-records"].items()}
    found, _, reason = dkim.arc_verify(bytes(message), dnsfunc=lambda name, **_: records.get(name.lower()))
    if state != "fail":
        assert found == b"pass", reason
        return
    assert found != b"pass"
    own = read_sets(message.fields())[-1:]  # the seal of a failed chain signs its own set alone
    public = asyncio.run(fetch_key(Zone(section["txt-records"]), seal_of_ours.key_name))
    assert public.proves(seal_of_ours.value, seal_input(message.header, own))


def test_a_change_after_the_seal_breaks_it() -> None:
    section, case = cases()[0].values
    message = asyncio.run(sealed(section, with_crlf(case["message"].encode()), 12345))
    assert message is not None
    for old, new in ((b"Hey gang", b"Bye gang"), (b"spf=pass", b"spf=fail"), (b"cv=none", b"cv=pass")):
        changed = Message.parse(bytes(message).replace(old, new, 1))
        assert asyncio.run(validate(changed, Zone(section["txt-records"]))).result == "fail"


def test_fifty_sets_are_the_most() -> None:
    section, case = cases()[0].values
    text = with_crlf(case["message"].encode())

    async def many() -> None:
        nonlocal text
        for number in range(50):
            message = await sealed(section, text, 12345 + number)
            assert message is not None
            text = bytes(message)
        assert (await validate(Message.parse(text), Zone(section["txt-records"]))).result == "pass"
        assert await sealed(section, text, 99999) is None

    asyncio.run(many())
