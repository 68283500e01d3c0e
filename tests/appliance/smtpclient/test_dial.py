"""Coming to a connection: addresses in turn, greeting and EHLO, TLS policies, AUTH."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import pytest

from appliance.smtpclient import Hop, HopError, Login, SmtpClient, Timeouts, TlsPolicy, reach
from tests.appliance.smtpclient.fake_server import (
    DROP,
    FULL,
    SILENCE,
    Authority,
    FakeServer,
    always,
    plain_contexts,
    running,
)

AUTHORITY = Authority()
STARTTLS = (*FULL, "STARTTLS")
Contexts = Callable[[bool], ssl.SSLContext]


def hop(server: FakeServer, **terms: object) -> Hop:
    values: dict[str, object] = {"host": "fake.example", "own_name": "me.example", "tls": "off", **terms}
    return Hop(port=server.port, **values)  # type: ignore[arg-type]


async def first(
    hop: Hop, contexts: Contexts = plain_contexts, addresses: tuple[str, ...] = ("127.0.0.1",)
) -> SmtpClient:
    clients = reach(hop, addresses, contexts, stagger_s=0.02)
    try:
        return await anext(clients)
    finally:
        await clients.aclose()


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dead_address_is_passed_over() -> None:
    async with running(FakeServer()) as server:
        client = await first(hop(server), addresses=("::1", "127.0.0.1"))  # nobody listens on ::1
        assert client.peer == f"fake.example[127.0.0.1]:{server.port}"
        client.abort()


async def test_a_silent_address_loses_the_race() -> None:
    with socket.socket() as black_hole:
        black_hole.bind(("127.0.0.2", 0))
        black_hole.listen(0)
        async with running(FakeServer(port=black_hole.getsockname()[1])) as server:
            # Once its backlog is full, further connections neither come nor fail.
            fillers = [asyncio.create_task(asyncio.open_connection("127.0.0.2", server.port)) for _ in range(4)]
            client = await first(hop(server), addresses=("127.0.0.2", "127.0.0.1"))
            assert client.peer == f"fake.example[127.0.0.1]:{server.port}"
            client.abort()
            for task in fillers:
                task.cancel()
            await asyncio.gather(*fillers, return_exceptions=True)


async def test_no_address_answers() -> None:
    async with running(FakeServer()) as server:
        pass
    with pytest.raises(HopError, match="cannot connect") as caught:
        await first(hop(server), addresses=("127.0.0.1", "::1"))
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (451, "4.4.1")


async def test_addresses_without_a_greeting_are_passed_over_and_the_next_is_given_on_demand() -> None:
    async with running(FakeServer(script=always(CONNECT="554 5.3.2 go away"))) as unwilling:
        async with (
            running(FakeServer(port=unwilling.port), "127.0.0.2"),
            running(FakeServer(port=unwilling.port), "127.0.0.3"),
        ):
            peers = []
            addresses = [f"127.0.0.{n}" for n in (1, 2, 4, 3)]
            async for client in reach(hop(unwilling), addresses, plain_contexts):
                peers.append(client.connection.peer_ip)
                client.abort()
            assert peers == ["127.0.0.2", "127.0.0.3"]
        assert len(unwilling.sessions) == 1


async def test_our_own_address_is_that_of_the_family() -> None:
    async with running(FakeServer()) as server:
        client = await first(hop(server, local_addresses=("::1", "127.0.0.9")))
        assert client.connection.local_ip == "127.0.0.9"
        client.abort()


# ── greeting ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        (always(CONNECT="554 5.7.1 not you"), "454 4.7.1 not you"),
        (always(CONNECT="421 4.3.2 busy"), "421 4.3.2 busy"),
        (always(CONNECT="450 busy"), "450 busy"),
        (always(CONNECT=DROP), "451 4.4.2 connection lost while waiting for the answer to GREETING"),
        (always(CONNECT=SILENCE), "451 4.4.2 no answer to GREETING within 0.2 s"),
        (always(CONNECT="welcome"), "451 4.5.0 no SMTP in the answer to GREETING: not an SMTP reply"),
        (always(EHLO="451 later"), "451 later"),
        (always(EHLO="550 no", HELO="550 5.7.1 never"), "450 4.7.1 never"),
    ],
)
async def test_a_host_that_does_not_serve_us_says_nothing_about_recipients(script: object, reply: str) -> None:
    async with running(FakeServer(script=script)) as server:  # type: ignore[arg-type]
        with pytest.raises(HopError) as caught:
            await first(hop(server, timeouts=Timeouts(greeting=0.2)))
        assert str(caught.value.reply) == reply
        assert caught.value.reply.temporary


async def test_helo_for_hosts_that_do_not_know_ehlo() -> None:
    async with running(FakeServer(script=always(EHLO="502 5.5.1 what?"))) as server:
        client = await first(hop(server))
        assert client.machine.extensions == {}
        await client.quit()
        assert server.verbs == [["EHLO", "HELO", "QUIT"]]


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", ["opportunistic", "required", "verified"])
async def test_starttls_is_used_and_extensions_are_asked_for_again(policy: TlsPolicy) -> None:
    async with running(FakeServer(STARTTLS, tls=AUTHORITY.server("fake.example"))) as server:
        client = await first(hop(server, tls=policy), AUTHORITY.client)
        assert client.connection.tls is not None
        assert "STARTTLS" not in client.machine.extensions
        assert server.verbs == [["EHLO", "STARTTLS", "EHLO"]]
        client.abort()


async def test_a_wrong_name_or_an_unknown_authority_is_refused_only_when_verified() -> None:
    for contexts, name in ((AUTHORITY.client, "other.example"), (Authority().client, "fake.example")):
        async with running(FakeServer(STARTTLS, tls=AUTHORITY.server(name))) as server:
            (await first(hop(server, tls="required"), contexts)).abort()
            with pytest.raises(HopError, match="certificate verify failed") as caught:
                await first(hop(server, tls="verified"), contexts)
            assert caught.value.reply.enhanced == "4.7.5"


@pytest.mark.parametrize("policy", ["required", "verified"])
@pytest.mark.parametrize(
    ("extensions", "script", "words"),
    [(FULL, always(), "does not offer it"), (STARTTLS, always(STARTTLS="454 4.7.0 not now"), "not now")],
)
async def test_no_mail_in_clear_where_tls_is_required(
    policy: TlsPolicy, extensions: tuple[str, ...], script: object, words: str
) -> None:
    async with running(FakeServer(extensions, script)) as server:  # type: ignore[arg-type]
        with pytest.raises(HopError, match=words):
            await first(hop(server, tls=policy), AUTHORITY.client)


@pytest.mark.parametrize(("extensions", "reply"), [(FULL, ""), (STARTTLS, "454 4.7.0 not now")])
async def test_opportunistic_goes_on_in_clear(extensions: tuple[str, ...], reply: str) -> None:
    script = always(STARTTLS=reply) if reply else always()
    async with running(FakeServer(extensions, script)) as server:
        client = await first(hop(server, tls="opportunistic"), AUTHORITY.client)
        assert client.connection.tls is None
        client.abort()


async def test_a_failed_handshake_is_followed_by_a_new_connection_in_clear_only_by_opportunity() -> None:
    broken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # has no certificate
    async with running(FakeServer(STARTTLS, tls=broken)) as server:
        client = await first(hop(server, tls="opportunistic"), AUTHORITY.client)
        assert client.connection.tls is None
        assert server.verbs == [["EHLO", "STARTTLS"], ["EHLO"]]
        client.abort()
        with pytest.raises(HopError, match="TLS could not be agreed"):
            await first(hop(server, tls="required"), AUTHORITY.client)
        assert server.verbs[2:] == [["EHLO", "STARTTLS"]]


@pytest.mark.parametrize("policy", ["opportunistic", "required"])
async def test_bytes_before_the_handshake_end_the_connection(policy: TlsPolicy) -> None:
    injected = b"250-evil.example\r\n250 AUTH PLAIN\r\n"
    server = FakeServer(STARTTLS, tls=AUTHORITY.server("fake.example"), inject_before_tls=injected)
    async with running(server):
        with pytest.raises(HopError, match="data pipelined after STARTTLS"):
            await first(hop(server, tls=policy), AUTHORITY.client)
        assert server.verbs == [["EHLO", "STARTTLS"]]


async def test_implicit_tls() -> None:
    async with running(FakeServer(tls=AUTHORITY.server("fake.example"), implicit_tls=True)) as server:
        client = await first(hop(server, tls="verified", implicit_tls=True), AUTHORITY.client)
        assert client.connection.tls is not None
        assert server.verbs == [["EHLO"]]
        client.abort()
        with pytest.raises(HopError, match="certificate verify failed"):
            await first(hop(server, tls="verified", implicit_tls=True), Authority().client)


# ── AUTH ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ANA = Login("ana", "secret")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
async def test_login(mechanism: str) -> None:
    async with running(FakeServer((*STARTTLS, f"AUTH {mechanism}"), tls=AUTHORITY.server("fake.example"))) as server:
        client = await first(hop(server, tls="verified", login=ANA), AUTHORITY.client)
        assert next(line for line in server.commands if line.startswith("AUTH")).split()[1] == mechanism
        client.abort()
        with pytest.raises(HopError, match=f"AUTH {mechanism} as ana refused: 535") as caught:
            await first(hop(server, tls="verified", login=Login("ana", "wrong")), AUTHORITY.client)
        assert caught.value.reply.temporary


async def test_the_best_mechanism_is_chosen_and_a_disowned_one_is_followed_by_the_next() -> None:
    def script(verb: str, argument: str) -> str | None:
        return "504 5.5.4 not for you" if verb == "AUTH" and argument.startswith("SCRAM") else None

    async with running(FakeServer(("AUTH LOGIN PLAIN SCRAM-SHA-256",), script)) as server:
        (await first(hop(server, login=ANA))).abort()
        assert [line.split()[1] for line in server.commands if line.startswith("AUTH")] == ["SCRAM-SHA-256", "PLAIN"]


async def test_a_server_that_cannot_prove_itself_is_not_believed() -> None:
    async with running(FakeServer(("AUTH SCRAM-SHA-256",), always(PROOF="wrong"))) as server:
        with pytest.raises(HopError, match="does not know the password"):
            await first(hop(server, login=ANA))
    async with running(FakeServer(("AUTH SCRAM-SHA-256",), always(AUTH="235 welcome"))) as server:
        with pytest.raises(HopError, match="did not prove itself"):
            await first(hop(server, login=ANA))


async def test_no_password_in_clear_away_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(FakeServer(("AUTH PLAIN LOGIN",))) as server:
        monkeypatch.setattr(SmtpClient, "private", False)
        with pytest.raises(HopError, match="without TLS no password is sent in clear"):
            await first(hop(server, login=ANA))
        assert not any(line.startswith("AUTH") for line in server.commands)


async def test_a_host_without_auth() -> None:
    async with running(FakeServer()) as server:
        with pytest.raises(HopError, match="offers no AUTH"):
            await first(hop(server, login=ANA))


async def test_endless_challenges_end() -> None:
    async with running(FakeServer(("AUTH LOGIN",), always(AUTH="334 AAAA", UNKNOWN="334 AAAA"))) as server:
        with pytest.raises(HopError):
            await first(hop(server, login=ANA, timeouts=Timeouts(auth=0.2)))
