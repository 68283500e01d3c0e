"""Values that would be commands somewhere else: to SQL, to a shell, to a path, to the next line; and odd TLS."""

from __future__ import annotations

import base64
import random
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from appliance.wire.imap import encode_mailbox
from tests.e2e.appliance_process import ACCOUNTS
from tests.faults.peer import PORTS, Peer, Port, deliver, greeted, imap, last_number, refused, smtp, unverified
from tests.faults.target import Target

TLS_PORTS = [port for port in PORTS if port.tls]

HARMLESS_NAMES = (
    "x'; DROP TABLE mailbox; --",
    'x" OR "1"="1',
    "x') UNION SELECT data FROM credential --",
    "../../../etc/passwd",
    "..",
    "INBOX/../../Trash",
    "$(touch /tmp/x)",
    "`id`",
    "| cat",
    "%",
    "*",
    "_",
    "a%_b\\c",
    "{5}",
    "NIL",
    "ñandú 鳩舎 🕊",
)
BAD_NAMES = (b"a\r\nx CREATE Evil", b"a\nb", b"a\rb", b"a\0b", b"\xff\xfe", b"&AAA-", b"&Jjo", b"a\x1b[2Jb", b"a" * 900)


def literal(peer: Peer, command: str, octets: bytes) -> bytes:
    """A command whose argument is a literal; everything up to its tagged answer."""
    peer.send(f"c {command} ".encode() + b"{%d+}\r\n%b\r\n" % (len(octets), octets))
    return peer.answered(b"c")


def test_mailbox_names_are_names(abused: Target) -> None:
    with imap(abused) as peer:
        before = peer.command('LIST "" *').splitlines()
        for name in HARMLESS_NAMES:
            octets = encode_mailbox(name)
            if not literal(peer, "CREATE", octets).startswith(b"c OK"):
                continue  # wildcards, for one, may be refused
            assert b"c OK" in literal(peer, "SELECT", octets), name
            assert b"c OK" in literal(peer, "SUBSCRIBE", octets), name
            assert peer.command("UNSELECT").startswith(b"c OK")
            assert literal(peer, "UNSUBSCRIBE", octets).startswith(b"c OK"), name
            assert literal(peer, "DELETE", octets).startswith(b"c OK"), name
        left = set(peer.command('LIST "" *').splitlines()) - set(before)
        assert all(b"\\Noselect" in line or line.endswith(b" INBOX") for line in left), left  # levels above a name
        assert b"c OK" in peer.command("SELECT INBOX")


def test_names_that_would_break_a_line_are_refused(abused: Target) -> None:
    with imap(abused) as peer:
        for octets in BAD_NAMES:
            said = literal(peer, "CREATE", octets)
            assert b"c NO" in said or b"c BAD" in said, octets
        assert b"Evil" not in peer.command('LIST "" *')


def test_search_texts_and_keywords_are_texts(abused: Target) -> None:
    assert deliver(abused, "Subject: 100% 'quoted' _x_\r\n\r\ntext\r\n").startswith(b"250 ")
    with imap(abused) as peer:
        number = last_number(peer)
        for text, found in (("100%", True), ("' OR 1=1 --", False), ("_x_", True), ("%' --", False), (".*", False)):
            said = literal(peer, "SEARCH SUBJECT", text.encode())
            assert (b" %d" % number in said.splitlines()[0]) is found, text
        for keyword in ("$x';--", "a%b", "$(x)", "\\Evil", "a]b", "a(b"):
            said = peer.command(f"STORE {number} +FLAGS ({keyword})")
            assert b"c OK" in said or b"c BAD" in said or b"c NO" in said
        assert peer.command(f"STORE {number} FLAGS ()").endswith(b"completed\r\n")


def test_details_of_an_address_name_no_file(abused: Target) -> None:
    for detail in ("../../../tmp/x", "..", "%2e%2e", "'; DROP TABLE account; --", "$(id)", "|cat", "INBOX/../x"):
        with smtp(abused) as peer:
            peer.say("MAIL FROM:<a@outside.test>")
            assert peer.say(f'RCPT TO:<"ana+{detail}"@palomar.test>')[:3] in {b"250", b"550", b"501"}, detail
    with smtp(abused) as peer:
        peer.say("MAIL FROM:<a@outside.test>")
        assert peer.say("RCPT TO:<ana@palomar.test>").startswith(b"250 ")


@pytest.mark.parametrize("port", PORTS[1:], ids=str)
def test_odd_base64_in_a_login(abused: Target, port: Port) -> None:
    begin = {"smtp": b"AUTH PLAIN", "imap": b"a AUTHENTICATE PLAIN", "pop3": b"AUTH PLAIN"}[port.protocol]
    deep = base64.b64encode(b"n," + b"a" * 9000)
    for answer in (b"====", b"A", b"\xff\xfe\xfd", b"A" * 12_000, b"AAAA=AAA", deep, b"*", b"AA AA", b"\0"):
        with greeted(abused, port) as peer:
            if port.protocol == "smtp":
                peer.say("EHLO a.test")
            peer.send(begin + b"\r\n")
            assert peer.line()[:1] in b"3+"
            peer.send(answer + b"\r\n")
            assert refused(port, peer.line()), answer[:20]


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("port", TLS_PORTS, ids=str)
def test_old_tls_is_not_spoken(abused: Target, port: Port) -> None:
    context = unverified()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", abused.ports[port.name]), 5) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock)


@pytest.mark.parametrize("port", TLS_PORTS, ids=str)
def test_no_renegotiation(abused: Target, port: Port) -> None:
    """CVE-2009-3555, CVE-2011-1473. Only `openssl` can still ask for it."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "apt-get install openssl"
    command = [openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{abused.ports[port.name]}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        process.stdin.write(b"R\n")
        process.stdin.flush()
        end = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
        said = process.communicate()[0]
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said or process.returncode != 0, said[-300:]


# ── the control socket ────────────────────────────────────────────────────────────────────────────────────────────


def test_junk_on_the_control_socket(abused: Target) -> None:
    """It is for this user only; but a program of theirs may be broken."""
    path = str(abused.folder / "data" / "control.sock")
    junk = (
        b"\n",
        b"{",
        b"null\n",
        b"[]\n",
        b'{"call": 5}\n',
        b'{"call": "queue.list", "args": []}\n',
        b'{"call": "queue.list", "args": {"nobody": 1}}\n',
        b'{"call": "../x", "args": {}}\n',
        b'{"call": "account.add", "args": {"name": "a\\nb", "password": ""}}\n',
        b"[" * 100_000 + b"\n",
        b"x" * 3_000_000,
        random.Random(1).randbytes(5000) + b"\n",
    )
    for octets in junk:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(path)
            try:
                sock.sendall(octets)
                sock.shutdown(socket.SHUT_WR)
                said = b""
                while more := sock.recv(65536):
                    said += more
            except ConnectionError:
                continue  # it hung up: an answer as good as any
        assert b'"result"' not in said, octets[:60]
    assert [account["name"] for account in abused.ask("account", "list")][:2] == list(ACCOUNTS)
