"""More than one server, each in a namespace: a backup, several active MX, and two levels."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from tests.e2e.appliance_process import PASSWORD, wait_for
from tests.e2e.street import PATIENCE_S, House, Street, side_by_side

pytestmark = [pytest.mark.root(users=True), pytest.mark.programs("ip", "nsenter", "unshare")]

ZONE = """\
office MX 10 mail
office MX 20 mx2
busy MX 10 mail
busy MX 10 mx2
mail A 10.77.0.1
mx2 A 10.77.0.2
outer A 10.77.0.3
north MX 10 outer
south MX 10 outer
"""
COMMON = """\
hostname = "{name}.test"
domains = [{domains}]
data = "data"
plugins = ["mda", "smtp", {plugins}, "peers", "smarthost", "relay"]
{top}
[auth]
failure_delay = 0.1
[store]
reserve_mib = 1
[dns]
zone_file = "zone"
[log]
format = "text"
"""
SECRETS = {name: f"the-secret-of-{name}-and-whom-it-calls" for name in ("mail", "north", "south")}
# Nobody waits minutes for a server that is cut off, or for one that was there when a connection was made.
RELAY = "[relay]\nidle_seconds = 0\nconnect_timeout = 2\nbackup_probe = 0.5\n"
LOOK = "[peers]\nlook = 0.5\n"
BEFORE = """
[[peers.before]]
host = "{host}"
secret = "{secret}"
"""
BEHIND = """
[[peers.behind]]
name = "{name}.test"
host = "{host}"
recipients = ["{domain}"]
kind = "{kind}"
secret = "{secret}"
"""


PROXIED = """
[[proxy.servers]]
host = "10.78.0.{number}"
accounts = ["{name}.test"]
verify = false
"""


def common(name: str, *domains: str, plugins: str = '"imap4", "pop3"', top: str = "") -> str:
    return COMMON.format(name=name, domains=", ".join(f'"{one}"' for one in domains), plugins=plugins, top=top)


@dataclass
class Town:
    street: Street
    client: House  # of somebody outside
    mail: House
    mx2: House
    outer: House
    north: House
    south: House


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Everybody, from their set-up on: one minute of starting for all tests."""
    street = Street(tmp_path_factory.mktemp("street"))
    try:
        yield _built(street)
    finally:
        street.close()


def _built(street: Street) -> Town:
    street.bridge("street")
    street.bridge("inside")
    mail = common("mail", "office.test", "busy.test") + LOOK
    mail += BEFORE.format(host="mx2.test", secret=SECRETS["mail"])
    mx2 = common("mx2") + RELAY + '[peers]\nlisten = [":6425"]\n'
    mx2 += BEHIND.format(name="mail", host="mail.test", domain="office.test", kind="backup", secret=SECRETS["mail"])
    mx2 += BEHIND.format(name="busy", host="mail.test", domain="busy.test", kind="relay", secret="")
    outer = common("outer", plugins='"proxy"', top='relay_networks = ["10.78.0.0/24"]') + RELAY
    outer += "[smtp]\nsubmission = []\nsubmissions = []\n"
    outer += '[peers]\nlisten = [":6425"]\n'
    for number, name in ((1, "north"), (2, "south")):
        outer += BEHIND.format(
            name=name, host=f"10.78.0.{number}", domain=f"{name}.test", kind="relay", secret=SECRETS[name]
        )
        outer += PROXIED.format(number=number, name=name)
    made = Town(
        street,
        street.house("client", street="10.77.0.100"),
        street.house("mail", config=mail, zone=ZONE, street="10.77.0.1"),
        street.house("mx2", config=mx2, zone=ZONE, street="10.77.0.2"),
        street.house("outer", config=outer, zone=ZONE, street="10.77.0.3", inside="10.78.0.3"),
        *(
            street.house(name, config=_inner(name), zone="", inside=f"10.78.0.{number}")
            for number, name in ((1, "north"), (2, "south"))
        ),
    )
    accounts = {
        "mail": ("ana@office.test", "ana@busy.test"),
        "north": ("nora@north.test",),
        "south": ("saul@south.test",),
    }
    side_by_side(
        *(lambda house=street.houses[name], some=some: house.add_accounts(*some) for name, some in accounts.items())
    )
    for house in street.houses.values():
        if house.config:
            house.begin()
    side_by_side(*(house.await_port for house in street.houses.values() if house.config))
    return made


def _inner(name: str) -> str:
    """The second level knows no names, and no way but the first level."""
    smarthost = '[[smarthost.hosts]]\nhost = "10.78.0.3"\nport = 25\nverify = false\n'
    top = 'proxy_networks = ["10.78.0.3"]\nproxy_ports = [993, 995, 465]\n'
    return (
        common(name, f"{name}.test", top=top) + LOOK + BEFORE.format(host="10.78.0.3", secret=SECRETS[name]) + smarthost
    )


def message(subject: str, to: str) -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "ines@elsewhere.test", to, subject
    made.set_content("Hello\n")
    return made.as_bytes(policy=SMTP)


def send(town: Town, address: str, to: str, subject: str = "") -> int:
    """Bring mail from outside: the answer to RCPT, or if that was taken and there is a subject, to DATA."""

    def work() -> int:
        with smtplib.SMTP(address, 25, timeout=PATIENCE_S) as smtp:
            smtp.ehlo("client.elsewhere.test")
            smtp.mail("ines@elsewhere.test")
            code, _ = smtp.rcpt(to)
            return smtp.data(message(subject, to))[0] if subject and code == 250 else code

    return town.client.inside(work)


def inbox(house: House, account: str, *, by: str = "127.0.0.1") -> dict[str, str]:
    """What is in somebody's INBOX, looked at from a house by the server at an address: subject to Received fields."""

    def work() -> dict[str, str]:
        with imaplib.IMAP4_SSL(by, ssl_context=_trusting(), timeout=PATIENCE_S) as imap:
            imap.login(account, PASSWORD)
            imap.select()
            _, found = imap.search(None, "ALL")
            if not (numbers := found[0].split()):
                return {}
            _, lines = imap.fetch(b",".join(numbers).decode(), "(BODY.PEEK[HEADER])")
            headers = [message_from_bytes(line[1]) for line in lines if isinstance(line, tuple)]
            return {str(one["Subject"]): " ".join(one.get_all("Received", ())) for one in headers}

    return house.inside(work)


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def arrives(house: House, account: str, subject: str) -> None:
    wait_for(lambda: subject in inbox(house, account), f"{subject!r} in the INBOX of {account}", PATIENCE_S)


def knows(town: Town, address: str, somebody: str) -> None:
    """Wait until a server knows who is there: somebody is, and nobody of that domain is not."""
    nobody = f"nobody@{somebody.partition('@')[2]}"
    wait_for(lambda: send(town, address, somebody) == 250, f"{address} takes mail for {somebody}", PATIENCE_S)
    wait_for(lambda: send(town, address, nobody) == 550, f"{address} refuses {nobody}", PATIENCE_S)


def test_the_backup_knows_who_is_there_and_holds_mail_until_the_primary_is_back(town: Town) -> None:
    knows(town, "10.77.0.2", "ana@office.test")
    assert send(town, "10.77.0.2", "ana@office.test", "while it is there") == 250
    arrives(town.mail, "ana@office.test", "while it is there")
    with town.street.unplugged(town.mail, "street"):
        assert send(town, "10.77.0.2", "nobody@office.test", "spam") == 550  # it still knows
        assert send(town, "10.77.0.2", "ana+lists@office.test", "while it is cut off") == 250
        wait_for(lambda: any(one["attempts"] for one in town.mx2.ask("queue", "list")), "a failed attempt", PATIENCE_S)
        assert "while it is cut off" not in inbox(town.mail, "ana@office.test")
    arrives(town.mail, "ana@office.test", "while it is cut off")
    wait_for(lambda: town.mx2.ask("queue", "list") == [], "nothing waits any more", PATIENCE_S)


def submit(house: House, sender: str, to: str, subject: str, *, by: str = "127.0.0.1") -> None:
    """Send as one of our own people, from a house by the server at an address."""

    def work() -> None:
        with smtplib.SMTP(by, 587, timeout=PATIENCE_S) as smtp:
            smtp.starttls(context=_trusting())
            smtp.login(sender, PASSWORD)
            assert smtp.sendmail(sender, [to], message(subject, to)) == {}

    house.inside(work)


def test_two_mx_of_equal_preference_share_the_load_and_one_does_it_alone(town: Town) -> None:
    sent = {f"shared {number}" for number in range(12)}
    for subject in sorted(sent):
        submit(town.north, "nora@north.test", "ana@busy.test", subject)
    wait_for(lambda: sent <= set(inbox(town.mail, "ana@busy.test")), "all have arrived", PATIENCE_S)

    def both_ways() -> bool:
        if {"by mx2.test" in way for way in inbox(town.mail, "ana@busy.test").values()} == {True, False}:
            return True
        submit(town.north, "nora@north.test", "ana@busy.test", "one more")
        return False

    wait_for(both_ways, "mail has come by either", PATIENCE_S)
    with town.street.unplugged(town.mx2, "street"):
        submit(town.north, "nora@north.test", "ana@busy.test", "by the other one")
        arrives(town.mail, "ana@busy.test", "by the other one")
    assert "by mx2.test" not in inbox(town.mail, "ana@busy.test")["by the other one"]


def test_mail_from_outside_goes_by_the_first_level_which_knows_who_is_behind_it(town: Town) -> None:
    for house, account in ((town.north, "nora@north.test"), (town.south, "saul@south.test")):
        knows(town, "10.77.0.3", account)
        assert send(town, "10.77.0.3", account, "from outside") == 250
        arrives(house, account, "from outside")
    assert send(town, "10.77.0.3", "ana@office.test", "relay me") == 550


def test_the_second_level_sends_by_the_first_alone(town: Town) -> None:
    submit(town.north, "nora@north.test", "saul@south.test", "across")
    submit(town.south, "saul@south.test", "nora@north.test", "and back")
    submit(town.north, "nora@north.test", "ana@office.test", "out")
    arrives(town.south, "saul@south.test", "across")
    arrives(town.north, "nora@north.test", "and back")
    arrives(town.mail, "ana@office.test", "out")
    for house, account, subject in (
        (town.south, "saul@south.test", "across"),
        (town.mail, "ana@office.test", "out"),
    ):
        assert "by outer.test" in inbox(house, account)[subject]

    def dial() -> None:
        socket.create_connection(("10.77.0.1", 25), timeout=PATIENCE_S).close()

    with pytest.raises(OSError, match="unreachable"):
        town.north.inside(dial)


def test_people_outside_reach_their_own_inner_servers_by_the_first_level(town: Town) -> None:
    outer = "10.77.0.3"
    submit(town.client, "nora@north.test", "saul@south.test", "from a hotel", by=outer)
    wait_for(lambda: "from a hotel" in inbox(town.client, "saul@south.test", by=outer), "it has arrived", PATIENCE_S)
    received = inbox(town.client, "saul@south.test", by=outer)["from a hotel"]
    assert "[10.77.0.100]" in received  # the inner server knows where the client was
    assert "by north.test" in received

    def pop() -> list[bytes]:
        box = poplib.POP3_SSL(outer, context=_trusting(), timeout=PATIENCE_S)
        box.user("saul@south.test")
        box.pass_(PASSWORD)
        found = [b"\r\n".join(box.retr(number + 1)[1]) for number in range(box.stat()[0])]
        box.quit()
        return found

    assert any(b"Subject: from a hotel" in text for text in town.client.inside(pop))

    def guess() -> None:
        with imaplib.IMAP4_SSL(outer, ssl_context=_trusting(), timeout=PATIENCE_S) as imap:
            imap.login("nora@north.test", "wrong")

    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        town.client.inside(guess)
    assert "peer 10.77.0.100" in town.north.log
