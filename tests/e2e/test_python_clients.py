"""Python's smtplib, imaplib and poplib: in clear on the loopback, by STARTTLS, and with TLS from the first octet."""

from __future__ import annotations

import email.message
import email.policy
import imaplib
import poplib
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox

pytestmark = pytest.mark.e2e

ANA, LUIS, POP, WEAK = "ana@palomar.test", "luis@palomar.test", "pop@palomar.test", "weak@palomar.test"
WAYS = ["clear", "starttls", "tls"]


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    made = make_appliance(accounts=(ANA, LUIS, POP, WEAK))
    made.command("account", "weak", WEAK, "on", "--password-stdin", stdin=PASSWORD + "\n")
    made.command("alias", "add", "ñandú@palomar.test", ANA)
    return made


@pytest.fixture(scope="module")
def context(trust: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(trust))


class TestSmtplib:
    """Sending."""

    @pytest.fixture
    def connect(self, appliance: Appliance, context: ssl.SSLContext) -> Callable[[str], smtplib.SMTP]:
        def connect(way: str) -> smtplib.SMTP:
            if way == "tls":
                return smtplib.SMTP_SSL("localhost", appliance.ports["submissions"], context=context, timeout=60)
            smtp = smtplib.SMTP("localhost", appliance.ports["submission"], timeout=60)
            if way == "starttls":
                assert smtp.starttls(context=context)[0] == 220
            return smtp

        return connect

    @pytest.mark.parametrize("way", WAYS)
    def test_a_message_is_sent(self, appliance: Appliance, connect: Callable[[str], smtplib.SMTP], way: str) -> None:
        sent = letters.awkward(f"smtplib-{way}", to=LUIS, sender=ANA)
        with connect(way) as smtp:
            smtp.login(ANA, PASSWORD)
            assert smtp.sendmail(ANA, [LUIS, ANA], sent, ["BODY=8BITMIME"]) == {}
            assert smtp.sendmail(ANA, LUIS, letters.plain(f"smtplib-again-{way}", sender=ANA)) == {}
        for account in (LUIS, ANA):
            assert letters.as_sent(inbox(appliance, f"smtplib-{way}", account)) == sent
        inbox(appliance, f"smtplib-again-{way}", LUIS)

    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
    def test_mechanisms(self, connect: Callable[[str], smtplib.SMTP], mechanism: str) -> None:
        with connect("tls") as smtp:
            smtp.ehlo()
            assert {"PLAIN", "LOGIN", "SCRAM-SHA-256"} <= set(smtp.esmtp_features["auth"].split())
            smtp.user, smtp.password = ANA, PASSWORD
            assert smtp.auth(mechanism, getattr(smtp, f"auth_{mechanism.lower()}"))[0] == 235

    def test_a_message_in_utf8_addresses_and_all(
        self, appliance: Appliance, connect: Callable[[str], smtplib.SMTP]
    ) -> None:
        message = email.message.EmailMessage(policy=email.policy.SMTPUTF8)
        message["From"], message["To"], message["Subject"] = ANA, "Ñandú <ñandú@palomar.test>", "smtplib ¿una cita?"
        message["Date"], message["Message-ID"] = "Mon, 23 Nov 2026 10:00:00 +0000", "<cita@example.org>"
        message.set_content("¡Sí! 🕊\r\n", cte="8bit")
        with connect("tls") as smtp:
            smtp.login(ANA, PASSWORD)
            assert smtp.send_message(message) == {}
        stored = inbox(appliance, "smtplib ¿una cita?")
        assert letters.as_sent(stored) == message.as_bytes(policy=email.policy.SMTPUTF8)
        assert "for <ñandú@palomar.test>" in letters.header_value(stored, "Received")

    def test_some_recipients_are_refused(self, appliance: Appliance, connect: Callable[[str], smtplib.SMTP]) -> None:
        with connect("starttls") as smtp:
            smtp.login(ANA, PASSWORD)
            refused = smtp.sendmail(ANA, [LUIS, "nobody@palomar.test"], letters.plain("smtplib-some", sender=ANA))
        assert {who: code for who, (code, _) in refused.items()} == {"nobody@palomar.test": 550}
        inbox(appliance, "smtplib-some", LUIS)

    def test_wrong_password(self, connect: Callable[[str], smtplib.SMTP]) -> None:
        smtp = connect("tls")
        with pytest.raises(smtplib.SMTPAuthenticationError) as failure:
            smtp.login(ANA, "wrong")  # it tries every mechanism, which is as often as we bear it
        smtp.close()
        assert failure.value.smtp_code == 535

    def test_lmtp(self, appliance: Appliance) -> None:
        sent = letters.awkward("smtplib-lmtp")
        with smtplib.LMTP(str(appliance.lmtp)) as lmtp:
            lmtp.sendmail(letters.SENDER, [ANA], sent)
        assert letters.as_sent(inbox(appliance, "smtplib-lmtp")) == sent

    def test_the_other_commands(self, appliance: Appliance) -> None:
        with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
            assert smtp.helo("mx.example.org")[0] == 250
            assert smtp.noop()[0] == 250
            assert smtp.rset()[0] == 250
            assert smtp.verify(ANA)[0] == 252
            assert smtp.docmd("EXPN", "staff")[0] in {252, 502, 550}
            assert smtp.docmd("HELP")[0] in {211, 214}
            assert smtp.docmd("WHATEVER")[0] == 500
            assert smtp.docmd("RCPT", f"TO:<{ANA}>")[0] == 503


class TestImaplib:
    """Every method that imaplib has for IMAP4rev1."""

    @pytest.fixture
    def connect(self, appliance: Appliance, context: ssl.SSLContext) -> Callable[[str], imaplib.IMAP4]:
        def connect(way: str) -> imaplib.IMAP4:
            if way == "tls":
                return imaplib.IMAP4_SSL("localhost", appliance.ports["imaps"], ssl_context=context, timeout=60)
            imap = imaplib.IMAP4("localhost", appliance.ports["imap"], timeout=60)
            if way == "starttls":
                assert imap.starttls(context)[0] == "OK"
            return imap

        return connect

    @pytest.fixture
    def imap(self, connect: Callable[[str], imaplib.IMAP4]) -> Iterator[imaplib.IMAP4]:
        with connect("tls") as imap:
            imap.login(ANA, PASSWORD)
            yield imap

    @pytest.mark.parametrize("way", WAYS)
    def test_log_in_store_and_fetch(self, connect: Callable[[str], imaplib.IMAP4], way: str) -> None:
        letter = letters.awkward(f"imaplib-{way}")
        with connect(way) as imap:
            imap.authenticate("PLAIN", lambda _challenge: f"\0{ANA}\0{PASSWORD}".encode())
            assert imap.create(f"way-{way}")[0] == "OK"
            date = imaplib.Time2Internaldate(1_600_000_000)
            status, said = imap.append(f"way-{way}", "(\\Seen \\Flagged $Label)", date, letter)
            assert status == "OK"
            assert re.search(rb"\[APPENDUID \d+ 1\]", said[0])
            assert imap.select(f"way-{way}") == ("OK", [b"1"])
            status, rows = imap.fetch("1", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
            assert status == "OK"
            assert rows[0][1] == letter
            assert b"UID 1" in rows[0][0]
            assert b"RFC822.SIZE %d" % len(letter) in rows[0][0]
            assert {b"\\Seen", b"\\Flagged", b"$Label"} <= set(imaplib.ParseFlags(rows[0][0]))
            assert imaplib.Internaldate2tuple(rows[0][0]) == imaplib.Internaldate2tuple(
                b"INTERNALDATE " + date.encode()
            )

    def test_wrong_password(self, connect: Callable[[str], imaplib.IMAP4]) -> None:
        imap = connect("tls")
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap.login(ANA, "wrong")
        imap.shutdown()

    def test_mailboxes(self, imap: imaplib.IMAP4) -> None:
        def names(rows: list[bytes | None]) -> set[bytes]:
            return {row.rpartition(b' "/" ')[2].strip(b'"') for row in rows if row is not None}

        assert imap.create("Tree/Branch/Leaf")[0] == "OK"
        assert names(imap.list("Tree/", "*")[1]) == {b"Tree/Branch", b"Tree/Branch/Leaf"}
        assert names(imap.list('""', "Tree/%")[1]) == {b"Tree/Branch"}
        assert imap.subscribe("Tree/Branch/Leaf")[0] == "OK"
        assert b"Tree/Branch/Leaf" in names(imap.lsub()[1])
        assert imap.rename("Tree", "Forest")[0] == "OK"
        assert names(imap.list('""', "Forest*")[1]) == {b"Forest", b"Forest/Branch", b"Forest/Branch/Leaf"}
        assert imap.unsubscribe("Tree/Branch/Leaf")[0] == "OK"
        _, rows = imap.status("Forest/Branch/Leaf", "(MESSAGES UIDNEXT UNSEEN RECENT)")
        assert rows == [b"Forest/Branch/Leaf (MESSAGES 0 UIDNEXT 1 UNSEEN 0 RECENT 0)"]
        assert imap.delete("Forest/Branch/Leaf")[0] == "OK"
        assert imap.delete("INBOX")[0] == "NO"
        assert imap.create("INBOX")[0] == "NO"
        assert imap.namespace() == ("OK", [b'(("" "/")) NIL NIL'])

    def test_searches(self, imap: imaplib.IMAP4) -> None:
        imap.create("search")
        for number in range(4):
            letter = letters.plain(f"find {number}", lines=(f"needle{number} ñandú",))
            date = imaplib.Time2Internaldate(1_600_000_000 + number * 86400)
            imap.append("search", "\\Seen" if number % 2 else "", date, letter)
        imap.select("search")
        for criteria, found in {
            ("ALL",): b"1 2 3 4",
            ("SUBJECT", '"find 2"'): b"3",
            ("BODY", "needle3"): b"4",
            ("TEXT", "ines@example.org"): b"1 2 3 4",
            ("FROM", "ines", "UNSEEN"): b"1 3",
            ("OR", "SUBJECT", '"find 0"', "SUBJECT", '"find 1"'): b"1 2",
            ("NOT", "SEEN", "NOT", "1"): b"3",
            ("SINCE", "15-Sep-2020"): b"3 4",
            ("SENTON", "23-Nov-2026"): b"1 2 3 4",
            ("LARGER", "100000"): b"",
            ("2:3", "UID", "1:2"): b"2",
            ("HEADER", "Message-ID", f'"{letters.token("find 1")}"'): b"2",
        }.items():
            assert imap.search(None, *criteria) == ("OK", [found]), criteria
        imap.literal = "ÑANDÚ".encode()
        assert imap.uid("SEARCH", "CHARSET", "UTF-8", "BODY") == ("OK", [b"1 2 3 4"])
        assert imap.search("X-UNKNOWN", "ALL")[0] == "NO"

    def test_parts_of_a_message(self, imap: imaplib.IMAP4) -> None:
        octets = letters.noise(10_000)
        letter = letters.with_attachment("imaplib-parts", octets)
        imap.create("parts")
        imap.append("parts", "", "", letter)
        imap.select("parts", readonly=True)
        header, _, text = letter.partition(b"\r\n\r\n")
        for wanted, expected in {
            "BODY.PEEK[HEADER]": header + b"\r\n\r\n",
            "BODY.PEEK[TEXT]": text,
            "BODY.PEEK[1]": b"See the attachment.",
            "BODY.PEEK[2.MIME]": text.split(b"--cut here\r\n")[2].partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
            "BODY.PEEK[HEADER.FIELDS (SUBJECT)]": b"Subject: imaplib-parts\r\n\r\n",
            "BODY.PEEK[TEXT]<3.20>": text[3:23],
            "RFC822": letter,
            "RFC822.HEADER": header + b"\r\n\r\n",
        }.items():
            status, rows = imap.fetch("1", f"({wanted})")
            assert status == "OK"
            assert rows[0][1] == expected, wanted
        _, rows = imap.fetch("1", "(ENVELOPE BODYSTRUCTURE)")
        assert b'"imaplib-parts"' in rows[0]
        assert b'"attachment" ("filename" "plan.bin")' in rows[0]

    def test_flags_copies_moves_and_expunging(self, imap: imaplib.IMAP4) -> None:
        imap.create("from")
        imap.create("to")
        for number in range(5):
            imap.append("from", "", "", letters.plain(f"message {number}"))
        imap.select("from")
        _, rows = imap.store("1:2", "+FLAGS", "(\\Deleted)")
        assert [b"\\Deleted" in imaplib.ParseFlags(row) for row in rows] == [True, True]
        assert imap.copy("3", "to")[0] == "OK"
        assert imap.uid("MOVE", "4:5", "to")[0] == "OK"
        assert imap.copy("1", "nowhere")[0] == "NO"
        assert imap.expunge()[0] == "OK"
        assert imap.search(None, "ALL") == ("OK", [b"1"])
        assert imap.check()[0] == imap.noop()[0] == "OK"
        imap.select("to")
        assert imap.search(None, "ALL") == ("OK", [b"1 2 3"])
        imap.store("1", "FLAGS", "(\\Deleted)")
        assert imap.close()[0] == "OK"
        assert imap.status("to", "(MESSAGES)") == ("OK", [b"to (MESSAGES 2)"])
        imap.select("to")
        imap.store("1", "FLAGS", "(\\Deleted)")
        assert imap.unselect()[0] == "OK"
        assert imap.status("to", "(MESSAGES)") == ("OK", [b"to (MESSAGES 2)"])


class TestPoplib:
    """Fetching."""

    @pytest.fixture
    def connect(self, appliance: Appliance, context: ssl.SSLContext) -> Callable[[str], poplib.POP3]:
        def connect(way: str) -> poplib.POP3:
            if way == "tls":
                return poplib.POP3_SSL("localhost", appliance.ports["pop3s"], context=context, timeout=60)
            pop = poplib.POP3("localhost", appliance.ports["pop3"], timeout=60)
            if way == "starttls":
                assert pop.stls(context).startswith(b"+OK")
            return pop

        return connect

    @pytest.mark.parametrize("way", WAYS)
    def test_a_whole_session(self, appliance: Appliance, connect: Callable[[str], poplib.POP3], way: str) -> None:
        with Reader(appliance, POP) as reader:
            reader.clear()
            for number in range(3):
                appliance.deliver(letters.awkward(f"poplib-{number}", to=POP), POP)
            stored = reader.messages()
        pop = connect(way)
        assert {"UIDL", "TOP", "PIPELINING", "RESP-CODES"} <= set(pop.capa())
        pop.user(POP)
        pop.pass_(PASSWORD)
        assert pop.stat() == (3, sum(map(len, stored)))
        assert pop.list()[1] == [b"%d %d" % (number, len(message)) for number, message in enumerate(stored, 1)]
        unique = [line.split()[1] for line in pop.uidl()[1]]
        assert len(set(unique)) == 3
        for number, message in enumerate(stored, 1):
            assert b"".join(line + b"\r\n" for line in pop.retr(number)[1]) == message
        assert pop.top(1, 0)[1] == [*stored[0].partition(b"\r\n\r\n")[0].split(b"\r\n"), b""]
        pop.dele(1)
        pop.rset()
        pop.dele(2)
        with pytest.raises(poplib.error_proto):
            pop.retr(2)
        assert pop.noop().startswith(b"+OK")
        pop.quit()
        pop = connect(way)
        pop.user(POP)
        pop.pass_(PASSWORD)
        assert [line.split()[1] for line in pop.uidl()[1]] == [unique[0], unique[2]]
        pop.quit()

    def test_wrong_password(self, connect: Callable[[str], poplib.POP3]) -> None:
        pop = connect("tls")
        pop.user(POP)
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
            pop.pass_("wrong")
        pop.quit()

    def test_apop_for_who_opted_in(self, appliance: Appliance, connect: Callable[[str], poplib.POP3]) -> None:
        appliance.deliver(letters.plain("poplib-apop", to=WEAK), WEAK)
        pop = connect("tls")
        pop.apop(WEAK, PASSWORD)
        assert pop.stat()[0] == 1
        pop.quit()
        pop = connect("tls")
        with pytest.raises(poplib.error_proto):
            pop.apop(POP, PASSWORD)
        pop.quit()

    def test_utf8(self, connect: Callable[[str], poplib.POP3]) -> None:
        pop = connect("tls")
        assert "USER" in pop.capa()["UTF8"]
        assert pop.utf8().startswith(b"+OK")
        pop.user(POP)
        pop.pass_(PASSWORD)
        pop.quit()

    def test_a_maildrop_in_use(self, connect: Callable[[str], poplib.POP3]) -> None:
        first, second = connect("tls"), connect("clear")
        first.user(POP)
        first.pass_(PASSWORD)
        second.user(POP)
        with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
            second.pass_(PASSWORD)
        first.quit()
        second.user(POP)
        second.pass_(PASSWORD)
        second.quit()
