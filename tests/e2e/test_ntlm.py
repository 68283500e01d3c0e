"""Logins by NTLM at a running appliance: curl, which knows it in all three protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.e2e.programs import run

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    made = make_appliance(
        top='plugins = ["ntlm", "mda", "smtp", "imap4", "pop3", "relay"]', extra='[ntlm]\ndomain = "palomar.test"\n'
    )
    made.command("account", "weak", ANA, "on", "--password-stdin", stdin=PASSWORD + "\n")
    return made


@pytest.mark.parametrize("user", [ANA, "ana", "OFFICE\\ana"])
@pytest.mark.parametrize("way", ["smtp", "imap", "pop3"])
def test_curl(appliance: Appliance, tmp_path: Path, trust: Path, way: str, user: str) -> None:
    port = appliance.ports[{"smtp": "submission"}.get(way, way)]
    options = ["-sSv", "-m", "60", "--cacert", str(trust), "--ssl-reqd", "--login-options", "AUTH=NTLM"]
    if way == "smtp":
        sent = letters.plain(f"ntlm <{user}>", to=LUIS, sender=ANA)
        (tmp_path / "letter").write_bytes(sent)
        options += ["--mail-from", ANA, "--mail-rcpt", LUIS, "-T", "letter"]
    where = f"{way}://127.0.0.1:{port}/"
    done = run("curl", *options, "-u", f"{user}:{PASSWORD}", where, home=tmp_path)
    assert "NTLM" in done.text
    if way == "smtp":
        assert letters.as_sent(inbox(appliance, f"ntlm <{user}>", LUIS)) == sent


@pytest.mark.parametrize("login", [f"{ANA}:wrong", f"{LUIS}:{PASSWORD}"], ids=["wrong", "not opted in"])
def test_curl_is_refused(appliance: Appliance, tmp_path: Path, trust: Path, login: str) -> None:
    options = ("-sSv", "-m", "60", "--cacert", str(trust), "--ssl-reqd", "--login-options", "AUTH=NTLM", "-u", login)
    done = run("curl", *options, f"imap://127.0.0.1:{appliance.ports['imap']}/", home=tmp_path, statuses=(67,))
    assert "AUTHENTICATIONFAILED" in done.text
