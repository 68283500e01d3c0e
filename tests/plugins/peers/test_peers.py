"""Lists of recipients from one office to the one before it, and what that one then knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from appliance.store.accounts import delete_account
from plugins.peers.guard import DAY_S
from plugins.peers.overview import lines
from tests.plugins.peers.pair import NOW, PRIMARY, Pair, behind, pair, until


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Pair]:
    async with pair(tmp_path) as made:
        yield made


async def code(place: Pair, address: str) -> int:
    reply = await place.outer.rcpt(address)
    return 0 if reply is None else reply.code


async def listed(place: Pair, address: str, expected: int = 250) -> None:
    async def is_so() -> bool:
        return await code(place, address) == expected

    await until(is_so, f"{expected} for {address}")


async def test_the_outer_office_knows_who_is_there_and_who_is_not(place: Pair) -> None:
    await place.inner.alias("team@palomar.test", "ana@palomar.test")
    assert await code(place, "ana@palomar.test") == 450  # nobody has told it yet
    place.call()
    await listed(place, "ana@palomar.test")
    answers = {
        "ANA@Palomar.test": 250, "ana+lists@palomar.test": 250, "team@palomar.test": 250, "team+x@palomar.test": 250,
        "postmaster@palomar.test": 250, "ines@palomar.test": 550, "ana-lists@palomar.test": 550,
        "+x@palomar.test": 550, "ana@other.test": 0, "ana@sub.palomar.test": 0,
    }  # fmt: skip
    assert {address: await code(place, address) for address in answers} == answers
    assert place.outer.queue.retried == ["palomar.test"]  # it called, so it is there: its mail need not wait


async def test_changes_follow(place: Pair) -> None:
    place.call()
    await listed(place, "ana@palomar.test")
    await place.inner.account("ines@palomar.test")
    await listed(place, "ines@palomar.test")
    await place.inner.store.write(lambda db: delete_account(db, "ana@palomar.test"))
    await listed(place, "ana@palomar.test", 550)
    await place.inner.domain("palomar.test", catch_all="luis@palomar.test")
    await listed(place, "anybody@palomar.test")
    assert await code(place, "ines@palomar.test") == 250


async def test_a_second_call_sends_nothing_anew(place: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "plugins.peers")
    place.call()
    await listed(place, "ana@palomar.test")
    await place.hang_up()
    place.outer.now += DAY_S
    place.call()

    async def confirmed() -> bool:
        return [one.confirmed_at for one in await place.outer.kept()] == [NOW + DAY_S]

    await until(confirmed, "the list is confirmed")
    assert caplog.text.count("has brought its recipients") == 1


async def test_a_list_that_nobody_confirms_refuses_nobody_for_ever(place: Pair) -> None:
    place.call()
    await listed(place, "ana@palomar.test")
    await place.hang_up()
    place.outer.now += 6.9 * DAY_S
    assert await code(place, "ines@palomar.test") == 550
    assert lines_of(place) == [("recipients", f"palomar.test from {PRIMARY}, confirmed 6.9 days ago", "warning")]
    place.outer.now += 0.2 * DAY_S
    assert [await code(place, one) for one in ("ines@palomar.test", "ana@palomar.test")] == [450, 250]
    place.outer.configure(behind(), when_unsure="accept")
    assert await code(place, "ines@palomar.test") == 250
    place.outer.office.core.time_state = "unset"  # nobody knows how old it is
    assert await code(place, "ines@palomar.test") == 550


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"secret": "another-secret-of-enough-letters"}, {}),
        ({}, {"name": "somebody.else.test"}),
        ({"secret": ""}, {}),
        ({}, {"secret_file": Path("/nonexistent/secret"), "secret": ""}),
    ],
)
async def test_a_wrong_login_brings_nothing(
    place: Pair, caplog: pytest.LogCaptureFixture, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    place.outer.configure(behind(**theirs))
    place.call(**ours)

    async def told() -> bool:
        return "is not told who gets mail here" in caplog.text

    await until(told, "the failure is logged")
    assert await place.outer.kept() == []
    assert place.outer.queue.retried == []


async def test_somebody_in_between_gets_nothing(place: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """The certificate is not checked by any authority, so anybody may end TLS; but then the binding does not fit."""
    context = place.outer.office.core.certificates.server_context()
    context.binding = b"\0" * 32  # type: ignore[attr-defined]
    place.call()

    async def told() -> bool:
        return "is not told who gets mail here" in caplog.text

    await until(told, "the failure is logged")
    assert await place.outer.kept() == []


async def test_only_domains_that_both_name_are_told(place: Pair) -> None:
    await place.inner.domain("second.test")
    await place.inner.domain("third.test")
    place.outer.configure(behind(recipients=("palomar.test", "*.test")))
    place.call(domains=("palomar.test", "third.test"))
    await listed(place, "postmaster@third.test")
    await listed(place, "ana@palomar.test")
    assert sorted(one.domain for one in await place.outer.kept()) == ["palomar.test", "third.test"]
    await place.hang_up()
    place.call(domains=("third.test",))

    async def withdrawn() -> bool:
        return [one.domain for one in await place.outer.kept()] == ["third.test"]

    await until(withdrawn, "what is told no more is withdrawn")


async def test_a_failing_plugin_changes_nothing(place: Pair, caplog: pytest.LogCaptureFixture) -> None:
    place.call()
    await listed(place, "ana@palomar.test")
    place.inner.core.store.directory.recipients = None  # type: ignore[method-assign, assignment]

    async def told() -> bool:
        return "cannot be said now" in caplog.text

    await until(told, "the failure is logged")
    assert await code(place, "ana@palomar.test") == 250


async def test_a_file_needs_no_call(place: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "recipients"
    place.outer.configure(behind(secret="", recipients_file=file, recipients=("palomar.test", "all.test")))
    assert await code(place, "ana@palomar.test") == 450  # there is no file yet
    file.write_text("# ours\nAna@palomar.test\n@all.test\nnonsense\n")
    answers = {"ana@palomar.test": 250, "ines@palomar.test": 550, "who@all.test": 250}
    assert {address: await code(place, address) for address in answers} == answers
    assert "line 4: 'nonsense'" in caplog.text
    file.unlink()
    assert {address: await code(place, address) for address in answers} == answers  # what it said stays


async def test_without_a_list_or_file_all_are_taken(place: Pair) -> None:
    place.outer.configure(behind(secret=""))
    assert await code(place, "anybody@palomar.test") == 250
    assert lines_of(place) == []


@pytest.mark.parametrize(
    ("settings", "route"),
    [
        ({}, Route("backup", f"[{PRIMARY}]")),
        ({"host": "-"}, Route("backup", "palomar.test")),
        ({"kind": "relay", "host": "192.0.2.7", "tls": "required"}, Route("relay", "[192.0.2.7]", "required")),
    ],
)
async def test_the_way_of_the_mail(place: Pair, settings: dict[str, Any], route: Route) -> None:
    place.outer.configure(behind(**settings))
    assert await place.outer.guard.route_recipient(Recipient(Address.parse("a@palomar.test"))) == route
    assert await place.outer.guard.route_recipient(Recipient(Address.parse("a@backup.test"))) is None


async def test_a_shared_domain_goes_where_the_mailbox_is(place: Pair, tmp_path: Path) -> None:
    inner = []
    for name in ("north", "south"):
        file = tmp_path / name
        file.write_text(f"{name}@shared.test\n")
        terms = {"name": f"{name}.test", "kind": "relay", "recipients": ("shared.test",), "secret": ""}
        inner.append(behind(**terms, recipients_file=file))
    place.outer.configure(*inner)
    for name in ("north", "south"):
        route = await place.outer.guard.route_recipient(Recipient(Address.parse(f"{name}@shared.test")))
        assert route == Route("relay", f"[{name}.test]")
    assert await code(place, "nobody@shared.test") == 550


async def test_it_calls_again_when_the_other_side_went(place: Pair) -> None:
    place.call()
    await listed(place, "ana@palomar.test")
    for connection in list(place.outer.listener.connections):
        connection.abort()

    async def called() -> bool:
        return len(place.outer.queue.retried) == 2

    await until(called, "a second call")
    assert await code(place, "ana@palomar.test") == 250


def lines_of(place: Pair) -> list[Any]:
    return list(lines(place.outer.office.core))


async def test_nothing_is_left_running(place: Pair) -> None:
    before = asyncio.all_tasks()
    place.call()
    await listed(place, "ana@palomar.test")
    await place.hang_up()

    async def quiet() -> bool:
        return asyncio.all_tasks() - before <= {place.caller} and not place.outer.listener.connections

    await until(quiet, "both sides have ended all that they began")
