"""Fetching policies from hosts that mean well and hosts that do not, over real HTTPS on loopback."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.plugins.tlspolicy.world import AUTHORITY, POLICY, REPORTS, STRANGER, STS, ZONE, host, world

GOOD = host()
BIG = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return BIG + b"Transfer-Encoding: chunked\r\n\r\n" + body


@pytest.mark.parametrize(
    ("answer", "words", "failure"),
    [
        (BIG + b"Content-Length: 10485760\r\n\r\n" + b"x", "more than 65536 octets", "sts-policy-fetch-error"),
        (BIG + b"\r\n" + bytes(200_000), "more than 65536 octets", "sts-policy-fetch-error"),
        (chunked(*[b"x" * 1000] * 100), "more than 65536 octets", "sts-policy-fetch-error"),
        (BIG + b"Content-Length: -1\r\n\r\n", "Content-Length", "sts-policy-fetch-error"),
        (BIG + b"Content-Length: 99\r\n\r\nshort", "broke off", "sts-policy-fetch-error"),
        (BIG + b"X: y\r\n" * 200 + b"\r\n", "more than 100 header lines", "sts-policy-fetch-error"),
        (BIG + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "a line of more than", "sts-policy-fetch-error"),
        (b"220 mx ESMTP\r\n", "no HTTP", "sts-policy-fetch-error"),
        (b"", "broke off", "sts-policy-fetch-error"),
        (b"HTTP/1.1 404 No\r\n\r\n", "answered 404", "sts-policy-fetch-error"),
        (b"HTTP/1.1 301 No\r\nLocation: https://evil.test/\r\n\r\n", "answered 301", "sts-policy-fetch-error"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + POLICY.encode(), "not text/plain", "sts-policy-invalid"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + POLICY.encode(),
            "not text/plain",
            "sts-policy-invalid",
        ),
        (BIG + b"\r\n<html>", "no line of a policy", "sts-policy-invalid"),
        (BIG + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk without its size", "sts-policy-fetch-error"),
    ],
)
async def test_what_is_no_policy_is_none(tmp_path: Path, answer: bytes, words: str, failure: str) -> None:
    """First contact goes on without a policy (RFC 8461 section 5.1), and the report tells why."""
    async with world(tmp_path, ZONE + STS + REPORTS) as place:
        await place.serve(GOOD.context)
        (await place.serve_policy()).answer = answer
        outcome = await place.send()
        assert outcome.status == "delivered"
        assert words in outcome.security
        assert place.counted() == {f"sts {failure}": 1, "no-policy-found good": 1}
        await place.send()
        assert len(place.https.requests) == 1  # not again so soon
        place.time += 301
        await place.send()
        assert len(place.https.requests) == 2


@pytest.mark.parametrize(
    "answer", [chunked(POLICY[:20].encode(), POLICY[20:].encode()), BIG + b"\r\n" + POLICY.encode()]
)
async def test_a_policy_may_come_in_pieces_or_end_with_the_connection(tmp_path: Path, answer: bytes) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        await place.serve(GOOD.context)
        (await place.serve_policy()).answer = answer
        assert (await place.send()).security.endswith("MTA-STS: enforce")


async def test_a_policy_host_must_prove_its_name(tmp_path: Path) -> None:
    for name, ca in (("mta-sts.other.test", AUTHORITY.ca), ("mta-sts.b.test", STRANGER)):
        (folder := tmp_path / name).mkdir()
        async with world(folder, ZONE + STS + REPORTS) as place:
            await place.serve(GOOD.context)
            https = await place.serve_policy(name, ca=ca)
            assert (await place.send()).status == "delivered"
            assert https.requests == []
            assert place.counted()["sts sts-webpki-invalid"] == 1


async def test_a_policy_host_that_never_answers_costs_its_time_once(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS, fetch_timeout=1) as place:
        await place.serve(GOOD.context)
        silent = place.stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # takes connections, says nothing
        place.https_port = silent.getsockname()[1]
        await place.start()
        outcomes = await asyncio.gather(*(place.send() for _ in range(3)))
        assert [one.status for one in outcomes] == ["delivered"] * 3
        assert "no answer within 1 s" in (await place.send()).security


async def test_a_new_id_brings_a_new_policy_and_a_broken_one_leaves_the_old(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        await place.serve(None)
        https = await place.serve_policy()
        assert (await place.send()).status == "deferred"
        https.policy("nonsense")
        (tmp_path / "zone").write_text((tmp_path / "zone").read_text().replace("id=1", "id=2"))
        place.zone = type(place.zone)(tmp_path / "zone")
        await place.start()
        assert (await place.send()).status == "deferred"
        assert len(https.requests) == 2
        https.policy(POLICY.replace("enforce", "none"))
        place.time += 301
        await place.start()
        assert (await place.send()).status == "delivered"
        assert len(https.requests) == 3


async def test_policies_in_use_are_fetched_again_before_they_end(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        await place.serve(None)
        https = await place.serve_policy()
        await place.send()
        await place.policies.turn()
        assert len(https.requests) == 1
        for day in range(1, 9):  # a week is its max_age
            place.time += 86_400
            await place.start()
            await place.policies.turn()
            assert len(https.requests) == 1 + day
        assert (await place.send()).status == "deferred"
        assert len(https.requests) == 9


async def test_nothing_ends_while_the_clock_is_unset(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        await place.serve(None)
        await place.serve_policy()
        await place.send()
        place.time = 5e9
        await place.start()
        place.core.time_state = "unset"
        assert (await place.send()).status == "deferred"
        place.core.time_state = "synced"
        place.https.answer = b""
        assert (await place.send()).status == "delivered"


async def test_those_who_ask_at_once_share_one_fetch(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        https = await place.serve_policy()
        policies = await place.start()
        found = await asyncio.gather(*(policies.sts.find("b.test") for _ in range(20)))
        assert {one.why for one in found} == {"MTA-STS: enforce"}
        assert len(https.requests) == 1
