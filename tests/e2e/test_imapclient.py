"""imapclient and aioimaplib, two clients of PyPI: what programs that people write themselves are made with."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import aioimaplib
import pytest
from imapclient import IMAPClient

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import Reader

pytestmark = pytest.mark.e2e

ANA = "ana@palomar.test"
ARRIVED = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


@pytest.fixture(scope="module")
def context(trust: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(trust))


@pytest.fixture
def reader(appliance: Appliance) -> Iterator[Reader]:
    """Another client, and an INBOX with three messages, an empty Archive."""
    with Reader(appliance) as reader:
        for mailbox in ("INBOX", "Archive"):
            reader.clear(mailbox)
        for number in range(3):
            appliance.deliver(letters.plain(f"letter {number}", lines=(f"number {number} of three",)))
        yield reader


class TestImapclient:
    """imapclient: parsed answers, so whatever it cannot parse fails here."""

    @pytest.fixture(params=["tls", "starttls"])
    def client(
        self, request: pytest.FixtureRequest, appliance: Appliance, context: ssl.SSLContext
    ) -> Iterator[IMAPClient]:
        if request.param == "tls":
            client = IMAPClient("localhost", port=appliance.ports["imaps"], ssl_context=context, timeout=60)
        else:
            client = IMAPClient("localhost", port=appliance.ports["imap"], ssl=False, timeout=60)
            client.starttls(context)
        client.plain_login(ANA, PASSWORD)
        yield client
        client.logout()

    def test_mailboxes(self, client: IMAPClient) -> None:
        uses = {name: flags for flags, _, name in client.list_folders()}
        assert b"\\Sent" in uses["Sent"]
        assert client.find_special_folder(b"\\Junk") == "Junk"
        name = "Pájaros/grün & blau"
        client.create_folder(name)
        assert client.folder_exists(name)
        client.subscribe_folder(name)
        assert name in [found for _, _, found in client.list_sub_folders()]
        client.rename_folder(name, "Pájaros/rot")
        assert client.folder_status("Pájaros/rot", ["MESSAGES", "UIDNEXT"]) == {b"MESSAGES": 0, b"UIDNEXT": 1}
        client.unsubscribe_folder(name)
        for gone in ("Pájaros/rot", "Pájaros"):
            client.delete_folder(gone)
        assert client.namespace().personal == (("", "/"),)

    def test_messages(self, client: IMAPClient, reader: Reader) -> None:
        assert client.select_folder("INBOX")[b"EXISTS"] == 3
        found = client.fetch(client.search(), ["ENVELOPE", "BODYSTRUCTURE", "FLAGS", "INTERNALDATE", "RFC822.SIZE"])
        assert [one[b"ENVELOPE"].subject for one in found.values()] == [b"letter 0", b"letter 1", b"letter 2"]
        assert {one[b"ENVELOPE"].from_[0].mailbox for one in found.values()} == {b"ines"}
        first, second, third = found
        whole = client.fetch([first], ["BODY.PEEK[]"])[first][b"BODY[]"]
        assert whole == reader.messages()[0]
        assert found[first][b"RFC822.SIZE"] == len(whole)
        assert found[first][b"BODYSTRUCTURE"][:2] == (b"text", b"plain")

        assert client.search(["SUBJECT", "letter 1"]) == [second]
        assert client.search(["TEXT", "of three", "NOT", "BODY", "number 2"]) == [first, second]
        assert client.search(["BODY", "ñandú"], charset="UTF-8") == []
        assert client.sort(["REVERSE", "SUBJECT"]) == [third, second, first]
        assert client.thread() == ((first,), (second,), (third,))

        client.add_flags(first, [b"\\Flagged", b"$Important"])
        assert {*client.get_flags([first])[first]} - {b"\\Recent"} == {b"\\Flagged", b"$Important"}
        client.remove_flags(first, [b"$Important"])
        assert reader.flags()["letter 0"] == {"\\Flagged"}

        assert client.append("INBOX", letters.plain("by append"), [b"\\Seen"], ARRIVED).endswith(b"APPEND completed")
        assert reader.arrivals()["by append"] == int(ARRIVED.timestamp())
        client.copy([first], "Archive")
        client.move([second], "Archive")
        client.delete_messages([third])
        client.uid_expunge([third])
        assert set(reader.flags()) == {"letter 0", "by append"}
        assert set(reader.flags("Archive")) == {"letter 0", "letter 1"}
        client.unselect_folder()

    def test_what_changed_since(self, client: IMAPClient, reader: Reader) -> None:
        client.enable("CONDSTORE")
        since = client.select_folder("INBOX")[b"HIGHESTMODSEQ"]
        reader.store("letter 1", "+FLAGS (\\Answered)")
        changed = client.fetch(client.search(), ["FLAGS"], [f"CHANGEDSINCE {since}"])
        assert [{*one[b"FLAGS"]} - {b"\\Recent"} for one in changed.values()] == [{b"\\Answered"}]

    def test_it_hears_of_others_in_idle(self, appliance: Appliance, client: IMAPClient, reader: Reader) -> None:
        client.select_folder("INBOX")
        client.idle()
        appliance.deliver(letters.plain("while idle"))
        heard: list[tuple[object, ...]] = []
        while (4, b"EXISTS") not in heard:
            heard += (more := client.idle_check(timeout=60))
            assert more, f"only {heard} within 10 s"
        reader.store("letter 0", "+FLAGS (\\Deleted)")
        reader.expunge()
        while (1, b"EXPUNGE") not in heard:
            heard += (more := client.idle_check(timeout=60))
            assert more, f"only {heard} within 10 s"
        assert client.idle_done()[0].startswith(b"IDLE")
        assert len(client.search()) == 3


class TestAioimaplib:
    """aioimaplib: it reads the wire on its own, in an event loop."""

    async def test_a_day(self, appliance: Appliance, context: ssl.SSLContext, reader: Reader) -> None:
        client = aioimaplib.IMAP4_SSL("localhost", appliance.ports["imaps"], timeout=60, ssl_context=context)
        await client.wait_hello_from_server()
        assert (await client.login(ANA, PASSWORD)).result == "OK"
        assert {"IDLE", "UIDPLUS", "MOVE", "ENABLE"} <= client.protocol.capabilities
        assert (await client.id(name="test")).result == "OK"
        assert (await client.select("INBOX")).lines[-1].endswith(b"SELECT completed")

        found = await client.uid_search("SUBJECT", '"letter 1"')
        (uid,) = found.lines[0].split()
        fetched = await client.uid("fetch", uid.decode(), "(UID BODY.PEEK[])")
        assert bytes(fetched.lines[1]) == reader.messages()[1]
        assert (await client.uid("store", uid.decode(), "+FLAGS", "(\\Flagged)")).result == "OK"
        assert "\\Flagged" in reader.flags()["letter 1"]

        idle = await client.idle_start(timeout=60)
        await asyncio.to_thread(appliance.deliver, letters.plain("while idle"))
        heard = await client.wait_server_push(timeout=60)
        assert b"4 EXISTS" in heard
        client.idle_done()
        await asyncio.wait_for(idle, 60)

        appended = await client.append(letters.awkward("by append"), "Archive", "\\Seen")
        assert appended.result == "OK"
        assert reader.wait("by append", "Archive") == letters.awkward("by append")
        assert (await client.uid("move", uid.decode(), "Archive")).result == "OK"
        assert set(reader.flags("Archive")) == {"by append", "letter 1"}
        assert (await client.getquotaroot("INBOX")).result == "OK"
        await client.logout()
