"""curl: smtp, imap and pop3, each in clear on the loopback, by STARTTLS, and with TLS from the first octet."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.programs import Done, run

pytestmark = pytest.mark.e2e

ANA, LUIS, POP = "ana@palomar.test", "luis@palomar.test", "pop@palomar.test"
BIRD = "ñandú@palomar.test"

# scheme, port, further arguments: how each protocol is reached
WAYS = {
    "smtp": ("smtp", "submission", ()),
    "smtp-starttls": ("smtp", "submission", ("--ssl-reqd",)),
    "smtps": ("smtps", "submissions", ()),
    "imap": ("imap", "imap", ()),
    "imap-starttls": ("imap", "imap", ("--ssl-reqd",)),
    "imaps": ("imaps", "imaps", ()),
    "pop3": ("pop3", "pop3", ()),
    "pop3-starttls": ("pop3", "pop3", ("--ssl-reqd",)),
    "pop3s": ("pop3s", "pop3s", ()),
}
SMTP, IMAP, POP3 = (tuple(way for way in WAYS if way.startswith(name)) for name in ("smtp", "imap", "pop3"))


class Curl:
    """Runs curl against one appliance; TLS is verified."""

    def __init__(self, appliance: Appliance, home: Path, trust: Path) -> None:
        self._appliance, self._home, self._trust = appliance, home, trust

    def __call__(
        self, way: str, *arguments: str, path: str = "", user: str = ANA, upload: bytes = b"", status: int = 0
    ) -> Done:
        scheme, port, more = WAYS[way]
        url = f"{scheme}://127.0.0.1:{self._appliance.ports[port]}/{path}"
        sent = ()
        if upload:
            (self._home / "upload").write_bytes(upload)
            sent = ("-T", "upload")
        login = ("-u", f"{user}:{PASSWORD}") if user else ()
        common = ("-sS", "-m", "20", "--cacert", str(self._trust))
        return run("curl", *common, *login, *more, *arguments, *sent, url, home=self._home, statuses=(status,))


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    made = make_appliance(accounts=(ANA, LUIS, POP))
    made.command("alias", "add", BIRD, ANA)
    return made


@pytest.fixture
def curl(appliance: Appliance, tmp_path: Path, trust: Path) -> Curl:
    return Curl(appliance, tmp_path, trust)


@pytest.fixture(scope="module")
def drop(appliance: Appliance) -> list[bytes]:
    """Two messages in the maildrop, as they are stored."""
    for name in ("pop-one", "pop-two"):
        appliance.deliver(letters.awkward(name, to=POP), POP)
    with Reader(appliance, POP) as reader:
        reader.wait("pop-one")
        reader.wait("pop-two")
        return reader.messages()


class TestSmtp:
    """Sending."""

    @pytest.mark.parametrize("way", SMTP)
    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
    def test_a_message_is_sent(self, appliance: Appliance, curl: Curl, way: str, mechanism: str) -> None:
        subject = f"curl-{way}-{mechanism}"
        sent = letters.awkward(subject, to=LUIS, sender=ANA)
        curl(way, "--login-options", f"AUTH={mechanism}", "--mail-from", ANA, "--mail-rcpt", LUIS, upload=sent)
        assert letters.as_sent(inbox(appliance, subject, LUIS)) == sent

    @pytest.mark.parametrize("options", [("--sasl-ir",), ()])
    def test_initial_response_or_not(self, appliance: Appliance, curl: Curl, options: tuple[str, ...]) -> None:
        subject = f"curl-ir-{len(options)}"
        sent = letters.with_attachment(subject, letters.noise(300_000), to=LUIS, sender=ANA)
        curl("smtp-starttls", *options, "--mail-from", ANA, "--mail-rcpt", LUIS, upload=sent)
        assert letters.as_sent(inbox(appliance, subject, LUIS)) == sent

    def test_an_address_in_utf8(self, appliance: Appliance, curl: Curl) -> None:
        sent = letters.plain("curl-ñandú", to=BIRD, sender=ANA)
        curl("smtps", "--mail-from", ANA, "--mail-rcpt", BIRD, upload=sent)
        stored = inbox(appliance, "curl-ñandú")
        assert letters.as_sent(stored) == sent
        received = letters.header_value(stored, "Received")
        assert " with UTF8SMTPSA " in received
        assert f"for <{BIRD}>" in received

    def test_one_of_two_recipients_is_unknown(self, appliance: Appliance, curl: Curl) -> None:
        sent = letters.plain("curl-two", sender=ANA)
        recipients = ("--mail-rcpt", "nobody@palomar.test", "--mail-rcpt", LUIS, "--mail-rcpt-allowfails")
        curl("smtps", "--mail-from", ANA, *recipients, upload=sent)
        assert letters.as_sent(inbox(appliance, "curl-two", LUIS)) == sent

    def test_a_foreign_sender_is_refused(self, curl: Curl) -> None:
        done = curl("smtps", "-v", "--mail-from", LUIS, "--mail-rcpt", LUIS, upload=letters.plain("no"), status=55)
        assert "553 5.7.1" in done.text or "550 5.7.1" in done.text

    def test_a_wrong_password_is_refused(self, curl: Curl) -> None:
        who = ("-u", f"{ANA}:wrong", "--mail-from", ANA, "--mail-rcpt", LUIS)
        done = curl("smtps", *who, user="", upload=b"x", status=67)
        assert "Login denied" in done.text


class TestImap:
    """Reading, searching, storing by IMAP."""

    @pytest.mark.parametrize("way", IMAP)
    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
    def test_append_list_search_and_fetch(self, appliance: Appliance, curl: Curl, way: str, mechanism: str) -> None:
        login = ("--login-options", f"AUTH={mechanism}")
        mailbox, subject = f"curl-{way}-{mechanism}", f"subject of {way} {mechanism}"
        assert curl(way, *login, "-X", f'CREATE "{mailbox}"').out == b""
        listed = curl(way, *login).out.decode().splitlines()
        assert f'* LIST (\\HasNoChildren) "/" {mailbox}' in listed
        assert '* LIST (\\HasNoChildren \\Sent) "/" Sent' in listed
        letter = letters.awkward(subject)
        curl(way, *login, path=mailbox, upload=letter)
        curl(way, *login, path=mailbox, upload=letters.plain("something else"))
        search = quote(f'SUBJECT "{subject}"')
        text = letter.partition(b"\r\n\r\n")[2]
        assert curl(way, *login, path=f"{mailbox}?{search}").out == b"* SEARCH 1\r\n"
        assert curl(way, *login, path=f"{mailbox};MAILINDEX=1").out == letter
        assert curl(way, *login, path=f"{mailbox};UID=1/;SECTION=TEXT").out == text
        assert curl(way, *login, path=f"{mailbox};UID=1/;SECTION=TEXT/;PARTIAL=2.5").out == text[2:7]
        assert curl(way, *login, path=f"{mailbox};UID=3", status=78).out == b""

    def test_flags_and_expunge(self, appliance: Appliance, curl: Curl) -> None:
        for name in ("one", "two", "three"):
            curl("imaps", path="Archive", upload=letters.plain(name))
        curl("imaps", "-X", "STORE 2 +FLAGS (\\Deleted \\Flagged)", path="Archive")
        curl("imaps", "-X", "EXPUNGE", path="Archive")
        with Reader(appliance) as reader:
            assert list(reader.flags("Archive")) == ["one", "three"]

    def test_status_and_capability(self, curl: Curl) -> None:
        curl("imaps", path="Drafts", upload=letters.plain("draft"))
        assert curl("imaps", "-X", "STATUS Drafts (MESSAGES)").out == b"* STATUS Drafts (MESSAGES 1)\r\n"
        assert b"IMAP4rev1" in curl("imaps", "-X", "CAPABILITY").out

    def test_a_mailbox_that_is_not_there(self, curl: Curl) -> None:
        assert " NO [NONEXISTENT] " in curl("imaps", "-v", path="Nowhere;UID=1", status=67).text

    def test_a_wrong_password_is_refused(self, curl: Curl) -> None:
        assert "Login denied" in curl("imaps", "-u", f"{ANA}:wrong", user="", status=67).text


class TestPop3:
    """Fetching by POP3."""

    @pytest.mark.parametrize("way", POP3)
    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
    def test_list_and_retrieve(self, curl: Curl, drop: list[bytes], way: str, mechanism: str) -> None:
        login = ("--login-options", f"AUTH={mechanism}")
        sizes = b"".join(b"%d %d\r\n" % (number, len(message)) for number, message in enumerate(drop, 1))
        assert curl(way, *login, user=POP).out == sizes
        for number, message in enumerate(drop, 1):
            assert curl(way, *login, path=str(number), user=POP).out == message

    def test_unique_ids_last(self, curl: Curl, drop: list[bytes]) -> None:
        first = curl("pop3s", "-X", "UIDL", user=POP).out
        assert len({line.split()[1] for line in first.splitlines()}) == len(drop)
        assert curl("pop3", "-X", "UIDL", user=POP).out == first

    def test_top_gives_the_first_lines(self, curl: Curl, drop: list[bytes]) -> None:
        header, _, text = drop[0].partition(b"\r\n\r\n")
        lines = b"".join(text.splitlines(keepends=True)[:2])
        assert curl("pop3s", "-X", "TOP 1 2", user=POP).out == header + b"\r\n\r\n" + lines

    def test_delete(self, appliance: Appliance, curl: Curl) -> None:
        appliance.deliver(letters.plain("pop-delete", to=LUIS), LUIS)
        inbox(appliance, "pop-delete", LUIS)
        count = len(curl("pop3s", user=LUIS).out.splitlines())
        curl("pop3s", "-X", f"DELE {count}", "-I", user=LUIS)
        with Reader(appliance, LUIS) as reader:
            assert reader.find(b"pop-delete") == []
            assert reader.count() == count - 1

    def test_a_message_that_is_not_there(self, curl: Curl) -> None:
        assert "-ERR " in curl("pop3s", "-v", path="99", user=POP, status=8).text
