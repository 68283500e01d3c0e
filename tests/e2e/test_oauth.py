"""Logins by access tokens at a running appliance: curl, msmtp and imaplib; the issuer's keys come by HTTPS."""

from __future__ import annotations

import imaplib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e import letters
from tests.e2e.appliance_process import Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.e2e.programs import run
from tests.plugins.oauth.issuer import ANA, AUDIENCE, Issuer, oauthbearer, xoauth2
from tests.ports import free_ports

pytestmark = pytest.mark.e2e

LUIS = "luis@palomar.test"
HOST = "login.palomar.test"
ZONE = "login.palomar  A 127.0.0.1\n"


class Provider:
    """An identity provider in a thread of its own; `signer` may change."""

    def __init__(self, authority: trustme.CA) -> None:
        self.signer = Issuer()
        self.asked: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                body = provider.signer.key_set()
                if self.path == "/office/.well-known/openid-configuration":
                    body = json.dumps({"issuer": provider.issuer, "jwks_uri": f"{provider.issuer}/keys"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(HOST).configure_cert(context)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.issuer = f"https://{HOST}:{self.server.server_address[1]}/office"

    def token(self, algorithm: str = "RS256", **claims: Any) -> str:
        """A token for ana that is good now, but for what is given."""
        now = int(time.time())
        return self.signer.token(algorithm, **{"iss": self.issuer, "exp": now + 600, "iat": now, **claims})


@pytest.fixture(scope="module")
def provider(authority: trustme.CA) -> Iterator[Provider]:
    made = Provider(authority)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join(60)
    made.server.server_close()


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, provider: Provider, trust: Path) -> Appliance:
    return make_appliance(
        zone=ZONE,
        top='plugins = ["oauth", "mda", "smtp", "imap4", "pop3", "relay"]',
        inside={"tls": f'trust = "{trust}"'},
        extra=f'[oauth.issuers.office]\nissuer = "{provider.issuer}"\naudience = ["{AUDIENCE}"]\nscopes = ["mail"]\n',
    )


@pytest.fixture
def curl(appliance: Appliance, tmp_path: Path, trust: Path) -> Any:
    def call(url: str, token: str, mechanism: str, *arguments: str, status: int = 0) -> str:
        scheme = url.partition("/")[0]
        port = appliance.ports[{"smtp": "submission", "imap": "imap", "pop3": "pop3"}.get(scheme, scheme)]
        options = ("-sSv", "-m", "60", "--cacert", str(trust), "--ssl-reqd", "-u", f"{ANA}:")
        login = ("--oauth2-bearer", token, "--login-options", f"AUTH={mechanism}")
        path = url.partition("/")[2]
        done = run(
            "curl",
            *options,
            *login,
            *arguments,
            f"{scheme}://127.0.0.1:{port}/{path}",
            home=tmp_path,
            statuses=(status,),
        )
        return done.text

    return call


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_curl_by_all_three(appliance: Appliance, provider: Provider, curl: Any, tmp_path: Path, mechanism: str) -> None:
    sent = letters.plain(f"by token, {mechanism}", to=LUIS, sender=ANA)
    (tmp_path / "letter").write_bytes(sent)
    token = provider.token("ES256")
    curl("smtp/", token, mechanism, "--mail-from", ANA, "--mail-rcpt", LUIS, "-T", "letter")
    assert letters.as_sent(inbox(appliance, f"by token, {mechanism}", LUIS)) == sent
    assert "LIST" in curl("imap/", token, mechanism)
    assert "+OK 0 messages" in curl("pop3/", token, mechanism)


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_curl_hears_why_a_token_is_none(provider: Provider, curl: Any, tmp_path: Path, mechanism: str) -> None:
    (tmp_path / "letter").write_bytes(b"\r\n")
    token = provider.token(exp=int(time.time()) - 3600)
    said = curl("smtp/", token, mechanism, "--mail-from", ANA, "--mail-rcpt", LUIS, "-T", "letter", status=67)
    assert "535 5.7.8" in said
    assert "AUTHENTICATIONFAILED" in curl("imap/", token, mechanism, status=67)
    assert "-ERR [AUTH]" in curl("pop3/", token, mechanism, status=67)


@pytest.mark.parametrize("method", ["oauthbearer", "xoauth2"])
def test_msmtp(appliance: Appliance, provider: Provider, tmp_path: Path, trust: Path, method: str) -> None:
    port, token = appliance.ports["submissions"], provider.token("EdDSA")
    options = (
        "--file=/dev/null", "--host=127.0.0.1", f"--port={port}", "--tls=on", "--tls-starttls=off", f"--user={ANA}",
        f"--tls-trust-file={trust}", f"--auth={method}", f"--passwordeval=echo {token}", f"--from={ANA}", "--", LUIS,
    )  # fmt: skip
    run("msmtp", *options, stdin=f"From: {ANA}\nTo: {LUIS}\nSubject: msmtp {method}\n\nhello\n".encode(), home=tmp_path)
    assert b"hello" in inbox(appliance, f"msmtp {method}", LUIS)


def test_imaplib(appliance: Appliance, provider: Provider, trust: Path) -> None:
    context = ssl.create_default_context(cafile=str(trust))

    def login(name: str, message: bytes) -> str:
        client = imaplib.IMAP4_SSL("localhost", appliance.ports["imaps"], ssl_context=context, timeout=60)
        assert f"AUTH={name}" in client.capabilities
        answers: list[bytes] = []

        def respond(challenge: bytes) -> bytes:
            answers.append(challenge)
            return message if not challenge else b"\x01"

        try:
            client.authenticate(name, respond)
            assert client.select("INBOX")[0] == "OK"
            client.logout()
        except imaplib.IMAP4.error as error:
            client.shutdown()
            return answers[-1].decode() + str(error)
        return "OK"

    assert login("OAUTHBEARER", oauthbearer(provider.token())) == "OK"
    assert login("XOAUTH2", xoauth2(provider.token(), LUIS)).startswith('{"status":"401"')
    refused = login("OAUTHBEARER", oauthbearer(provider.token("HS256", email=LUIS)))
    assert '"invalid_token"' in refused
    assert f'"{provider.issuer}/.well-known/openid-configuration"' in refused
    assert provider.asked.count("/office/keys") == 1
