"""Postfix as our smart host: it demands TLS and a login, and takes both in every way that it knows."""

from __future__ import annotations

import os
import re
import shutil
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, Certificate, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.e2e.postfix import Postfix, without_delivery_fields
from tests.e2e.programs import run
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.root(users=True)]

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
USER, SECRET = "palomar", "a secret, with = and \\ in it"
OUTSIDE = "ines@outside.test"
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"]


@pytest.fixture(scope="module")
def ports() -> list[int]:
    """Its submission port, and the one with TLS from the first octet."""
    return free_ports(2)


@pytest.fixture(scope="module")
def provider(ports: list[int], issue: Callable[..., Certificate]) -> Iterator[Postfix]:
    """A provider: no mail without TLS, none without a login; what it takes, it keeps in one Maildir."""
    settings = {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_security_options": "noanonymous",
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_auth_only": "yes",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        "mynetworks": "192.0.2.1/32",
        "smtpd_tls_received_header": "yes",
        "smtputf8_enable": "yes",
        "smtpd_authorized_xforward_hosts": "127.0.0.1",
    }
    certificate = issue("mail.provider.test")
    postfix = Postfix(
        "mail.provider.test", settings, ports=ports[:1], tls_ports=ports[1:], certificate=certificate,
        mail_domains="outside.test",
    )  # fmt: skip
    _offer(postfix, *MECHANISMS)
    with postfix:
        yield postfix


def _offer(postfix: Postfix, *mechanisms: str) -> None:
    """Give it a user database, and these mechanisms for new connections."""
    sasl = postfix.config / "sasl"
    database = sasl / "users"
    if not sasl.is_dir():
        sasl.mkdir()
        arguments = ("-c", "-p", "-f", str(database), "-u", "mail.provider.test", USER)
        run("saslpasswd2", *arguments, home=postfix.folder, stdin=SECRET.encode())
        shutil.chown(database, "postfix")
        postfix.set("cyrus_sasl_config_path", str(sasl))
        postfix.set("smtpd_sasl_local_domain", "$myhostname")
    (sasl / "smtpd.conf").write_text(
        f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: {' '.join(mechanisms)}\n"
    )


@pytest.fixture(scope="module")
def hosts(ports: list[int], trust: Path) -> Callable[..., str]:
    """The TOML of our smart hosts."""

    def hosts(port: int = 0, *, password: str = SECRET, more: str = "") -> str:
        quoted = password.replace("\\", "\\\\")
        return (
            f'[[smarthost.hosts]]\nname = "provider"\nhost = "mail.provider.test"\nport = {port or ports[0]}\n'
            f'username = "{USER}"\npassword = "{quoted}"\nca_file = "{trust}"\nxforward = true\n{more}\n'
        )

    return hosts


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, provider: Postfix, hosts: Callable[..., str]) -> Appliance:
    return make_appliance(extra=hosts(), zone="mail.provider A 127.0.0.1\n")


def use(appliance: Appliance, hosts: str) -> None:
    """Give a running appliance other smart hosts."""
    appliance.extra = hosts
    appliance.write_config()
    appliance.reload()


def submit(appliance: Appliance, message: bytes, *recipients: str) -> None:
    appliance.command("send", "-f", ANA, *recipients, stdin=message.decode())


def settle(appliance: Appliance) -> None:
    wait_for(lambda: appliance.queued == [], "an empty queue")


def test_its_log_names_the_client_that_a_message_came_from(appliance: Appliance, provider: Postfix) -> None:
    """By XFORWARD, as the settings want."""
    with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], "client.palomar.test", timeout=60) as smtp:
        smtp.login(ANA, PASSWORD)
        smtp.sendmail(ANA, [OUTSIDE], letters.plain("smarthost-xforward", to=OUTSIDE, sender=ANA))
    told = re.compile(r"orig_queue_id=[^ ,]+, orig_client=[^ ]+\[127\.0\.0\.1\]")
    wait_for(lambda: told.search(provider.log.read_text()), "the client in its log")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_we_log_in(appliance: Appliance, provider: Postfix, hosts: Callable[..., str], mechanism: str) -> None:
    _offer(provider, mechanism)
    provider.reload()
    # Another setting, so that the connection that is kept for the next message is not used.
    use(appliance, hosts(more=f"deliveries = {1 + MECHANISMS.index(mechanism)}"))
    subject = f"smarthost-{mechanism}-"
    sent = letters.awkward(subject, to=OUTSIDE, sender=ANA)
    submit(appliance, sent, OUTSIDE)
    kept = provider.wait(subject)
    assert letters.as_sent(without_delivery_fields(kept)) == sent
    login = f"sasl_method={mechanism}, sasl_username={USER}@mail.provider.test"
    wait_for(lambda: login in provider.log.read_text(), "the login in Postfix's log")
    assert " with ESMTPSA " in letters.header_value(kept, "Received")
    settle(appliance)


def test_tls_from_the_first_octet(
    appliance: Appliance, provider: Postfix, ports: list[int], hosts: Callable[..., str]
) -> None:
    _offer(provider, "PLAIN")
    provider.reload()
    use(appliance, hosts(ports[1], more="implicit_tls = true"))
    sent = letters.plain("smarthost-implicit", to=OUTSIDE, sender=ANA)
    submit(appliance, sent, OUTSIDE)
    assert letters.as_sent(without_delivery_fields(provider.wait("smarthost-implicit"))) == sent
    settle(appliance)
    use(appliance, hosts())


def test_a_wrong_password_defers_and_says_why(
    appliance: Appliance, provider: Postfix, hosts: Callable[..., str]
) -> None:
    use(appliance, hosts(password="wrong"))
    submit(appliance, letters.plain("smarthost-wrong", to=OUTSIDE, sender=ANA), OUTSIDE)
    row = wait_for(lambda: [one for one in appliance.queued if one["attempts"]], "a deferral")[0]
    assert "535 5.7.8" in str(row)
    use(appliance, hosts())
    appliance.command("queue", "retry", "outside.test")
    provider.wait("smarthost-wrong")
    settle(appliance)


def test_a_certificate_that_is_not_trusted_defers(
    appliance: Appliance, provider: Postfix, hosts: Callable[..., str], tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    use(appliance, hosts().replace('ca_file = "', f'ca_file = "{other}"\n# "'))
    submit(appliance, letters.plain("smarthost-untrusted", to=OUTSIDE, sender=ANA), OUTSIDE)
    row = wait_for(lambda: [one for one in appliance.queued if one["attempts"]], "a deferral")[0]
    assert "certificate" in str(row)
    assert "smarthost-untrusted" not in provider.log.read_text()
    use(appliance, hosts())
    appliance.command("queue", "retry", "outside.test")
    provider.wait("smarthost-untrusted")
    settle(appliance)


def test_several_recipients_addresses_in_utf8_and_a_large_message(appliance: Appliance, provider: Postfix) -> None:
    sent = letters.with_attachment("smarthost-large", letters.noise(3_000_000), to="inés@outside.test", sender=ANA)
    submit(appliance, sent, "inés@outside.test", "juan@outside.test", LUIS)
    found = wait_for(lambda: [one for one in provider.mailbox() if b"smarthost-large" in one][1:], "two copies")
    assert letters.as_sent(without_delivery_fields(found[0])) == sent
    assert letters.as_sent(inbox(appliance, "smarthost-large", LUIS), hops=0) == sent  # luis lives here
    settle(appliance)


def test_what_the_provider_refuses_comes_back(
    appliance: Appliance, provider: Postfix, hosts: Callable[..., str]
) -> None:
    ghosts = provider.table("access", {"ghost@outside.test": "550 5.1.1 no ghosts"})
    provider.set("smtpd_recipient_restrictions", f"check_recipient_access {ghosts}")
    provider.reload()
    use(appliance, hosts(more="deliveries = 9"))
    submit(appliance, letters.plain("smarthost-ghost", to="ghost@outside.test", sender=ANA), "ghost@outside.test")
    bounce = inbox(appliance, "smarthost-ghost")
    assert b"no ghosts" in bounce
    assert b"Final-Recipient: rfc822;ghost@outside.test" in bounce.replace(b"; ", b";")
    settle(appliance)


def test_the_password_from_a_file(appliance: Appliance, provider: Postfix, hosts: Callable[..., str]) -> None:
    secret = appliance.folder / "secret"
    secret.write_text(SECRET + "\n")
    os.chmod(secret, 0o600)
    quoted = SECRET.replace("\\", "\\\\")
    use(appliance, hosts().replace(f'password = "{quoted}"', f'password_file = "{secret}"'))
    submit(appliance, letters.plain("smarthost-file", to=OUTSIDE, sender=ANA), OUTSIDE)
    provider.wait("smarthost-file")
    settle(appliance)
    assert PASSWORD not in appliance.log.read_text()
    assert SECRET not in appliance.log.read_text()
