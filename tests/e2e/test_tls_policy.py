"""A running appliance and a peer whose TLS somebody takes away: what trace, queue and status say, and the way back."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from tests.appliance.smtpclient.fake_server import FULL, FakeServer
from tests.e2e.appliance_process import Appliance, wait_for
from tests.e2e.conftest import Make
from tests.ports import free_ports

pytestmark = pytest.mark.e2e

ANA, INES = "ana@palomar.test", "ines@outside.test"
ZONE = """
outside              MX 10 mx.outside
mx.outside            A 127.0.0.1
"""
LETTER = "From: ana@palomar.test\nTo: ines@outside.test\nSubject: %s\n\nhello\n"


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def peer(port: int) -> Iterator[FakeServer]:
    """A mail exchanger in a thread of its own."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("mx.outside.test").configure_cert(context)
    server = FakeServer((*FULL, "STARTTLS"), tls=context, port=port)
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(listen(server))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server
    loop.call_soon_threadsafe(listening.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


async def listen(server: FakeServer) -> asyncio.Server:
    return await asyncio.start_server(server.serve, "127.0.0.1", server.port, limit=1 << 20)


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, port: int) -> Appliance:
    return make_appliance(
        zone=ZONE,
        top='plugins = ["mda", "smtp", "imap4", "pop3", "tlspolicy", "relay"]',
        extra=f"[relay]\nport = {port}\nidle_seconds = 0\n",
        accounts=(ANA,),
    )


def traced(appliance: Appliance, word: str) -> str:
    """What the trace says when the relay is done with a message to INES and says so in a line with `word`."""

    def found() -> str:
        rows = appliance.ask("trace", INES)
        return next((row["detail"] for row in rows if row["who"] == "relay" and word in row["detail"]), "")

    return str(wait_for(found, f"{word} in the trace"))


def test_a_downgrade_waits_until_it_is_forgotten(appliance: Appliance, peer: FakeServer) -> None:
    appliance.command("send", "-f", ANA, INES, stdin=LETTER % "one")
    assert "(TLSv1.3, encrypted: no DANE: no validating resolver is believed here; no MTA-STS)" in traced(
        appliance, "encrypted"
    )
    peer.extensions = FULL  # STARTTLS is stripped from here on
    appliance.command("send", "-f", ANA, INES, stdin=LETTER % "two")
    words = "TLS is required, but the host does not offer it"
    assert "the domain has spoken TLS before" in traced(appliance, words)
    [row] = wait_for(lambda: [one for one in appliance.queued if words in str(one)], "the queue's word")
    assert INES in str(row)
    told = appliance.command("status", check=False)
    assert told.returncode == 3
    assert "mail for outside.test waits: mx.outside.test[127.0.0.1]" in told.stdout
    assert len(peer.messages) == 1
    appliance.command("tls", "forget", "outside.test")
    appliance.command("queue", "retry", "outside.test")
    wait_for(lambda: len(peer.messages) == 2, "the second message")
    assert [message.tls for message in peer.messages] == [True, False]


def test_the_key_of_our_certificate_is_for_dns(appliance: Appliance) -> None:
    rows = appliance.ask("domain", "dns", "palomar.test")
    [tlsa] = [row["value"] for row in rows if row["type"] == "TLSA"]
    assert tlsa.startswith("3 1 1 ")
    assert len(bytes.fromhex(tlsa.split()[3])) == 32
