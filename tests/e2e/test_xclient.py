"""XCLIENT by swaks: clients behind a trusted server, at a running appliance with its door closed a little."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.e2e.programs import Done, run

pytestmark = pytest.mark.e2e

ANA, LUIS, INES = "ana@palomar.test", "luis@palomar.test", "ines@example.org"


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    return make_appliance(
        top='relay_networks = ["198.18.5.0/24"]',
        inside={"smtp": 'xclient_networks = ["127.0.0.1"]'},
    )


def swaks(
    appliance: Appliance, home: Path, *arguments: str, port: str = "mx", statuses: tuple[int, ...] = (0,)
) -> Done:
    where = ("--server", "127.0.0.1", "--port", str(appliance.ports[port]), "--helo", "client.example.org")
    return run("swaks", *where, *arguments, home=home, statuses=statuses)


def test_the_address_that_is_told_stands_in_received(appliance: Appliance, tmp_path: Path) -> None:
    told = ("--xclient-addr", "IPV6:2001:db8::7", "--xclient-name", "client.example.org", "--xclient-proto", "ESMTP")
    mail = ("--from", INES, "--to", ANA, "--header", "Subject: told")
    swaks(appliance, tmp_path, *told, *mail)
    assert "[IPv6:2001:db8::7]" in letters.header_value(inbox(appliance, "told"), "Received")


def test_relaying_goes_by_the_address_that_is_told(appliance: Appliance, tmp_path: Path) -> None:
    mail = ("--from", INES, "--to", "you@elsewhere.test")
    swaks(appliance, tmp_path, "--xclient-addr", "198.18.5.9", *mail)
    done = swaks(appliance, tmp_path, "--xclient-addr", "198.18.6.9", *mail, statuses=(24,))
    assert "550 5.7.1" in done.text


def test_a_login_that_is_told_sends_as_its_account(appliance: Appliance, tmp_path: Path) -> None:
    told = ("--xclient-addr", "198.18.6.9", "--xclient-login", ANA)
    mail = ("--from", ANA, "--to", LUIS, "--header", "Subject: by login")
    swaks(appliance, tmp_path, *told, *mail, port="submission")
    assert " with ESMTPA " in letters.header_value(inbox(appliance, "by login", LUIS), "Received")
    refused = swaks(appliance, tmp_path, "--xclient-login", "nobody@palomar.test", *mail, statuses=(33,))
    assert "550 5.7.0" in refused.text


def test_who_is_told_is_not_this_machine(appliance: Appliance, tmp_path: Path) -> None:
    """On the loopback a password may come in clear; from behind a server on the loopback it may not."""
    login = ("--auth", "PLAIN", "--auth-user", ANA, "--auth-password", PASSWORD, "--quit-after", "AUTH")
    swaks(appliance, tmp_path, *login, port="submission")
    told = ("--xclient-addr", "127.0.0.1")
    done = swaks(appliance, tmp_path, *told, *login, port="submission", statuses=(28,))
    assert "538 5.7.11 Encryption is required" in done.text
