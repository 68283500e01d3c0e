"""Postfix as a next hop that lacks 8BITMIME, CHUNKING and DSN, Dovecot as one that speaks LMTP; and clients (curl,
smtplib) that ask for what few ask for.
"""

from __future__ import annotations

import email
import email.message
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.e2e.postfix import Postfix
from tests.e2e.programs import run
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.root(users=True)]

_START_S = 60.0
_CONFIG = """
protocols = lmtp
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
ssl = no
mail_location = maildir:{folder}/mail/%n
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""

ANA, INES = "ana@palomar.test", "ines@outside.test"
ZONE = "outside MX 10 mx.outside\nmx.outside A 127.0.0.1\naway MX 10 mx.away\nmx.away A 127.0.0.9\n"


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def inner() -> Iterator[Path]:
    """The folder of a Dovecot to be; not below pytest's folder, which others than root may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, port: int, inner: Path) -> Appliance:
    return make_appliance(
        top='plugins = ["mda", "smtp", "imap4", "pop3", "lmtp", "relay"]',
        zone=ZONE,
        extra=f'[relay]\nport = {port}\ntls = "off"\n[lmtp.next_hops]\n"inside.test" = "unix:{inner}/lmtp"\n',
        inside={"smtp": 'etrn_domains = ["away.test"]\nvrfy = "accounts"'},
    )


@pytest.fixture(scope="module")
def mx(port: int) -> Iterator[Postfix]:
    settings = {"smtpd_discard_ehlo_keywords": "8bitmime, chunking, dsn, smtputf8", "mynetworks": "192.0.2.1/32"}
    with Postfix("mx.outside.test", settings, ports=[port], mail_domains="outside.test") as postfix:
        yield postfix


@pytest.fixture(scope="module")
def dovecot(inner: Path) -> Iterator[Path]:
    """The folder of a Dovecot with the mailboxes of ana and ines, in the foreground under us."""
    (inner / "mail").mkdir()
    shutil.chown(inner / "mail", "nobody", "nogroup")
    (inner / "users").write_text("".join(f"{name}@inside.test:x:65534:65534::{inner}\n" for name in ("ana", "ines")))
    (inner / "dovecot.conf").write_text(_CONFIG.format(folder=inner))
    with (inner / "out").open("wb") as out:
        process = subprocess.Popen(["dovecot", "-F", "-c", inner / "dovecot.conf"], stdout=out, stderr=out)
    try:
        wait_for(lambda: process.poll() is not None or (inner / "lmtp").is_socket(), "start of Dovecot", _START_S)
        assert process.poll() is None, (inner / "out").read_text()
        yield inner
    finally:
        process.terminate()
        process.wait(_START_S)


def submit(
    appliance: Appliance, message: bytes, *recipients: str, options: Sequence[str] = (), rcpt: Sequence[str] = ()
) -> None:
    with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], timeout=60) as smtp:
        smtp.login(ANA, PASSWORD)
        assert smtp.sendmail(ANA, recipients, message, list(options), list(rcpt)) == {}


def leaves(raw: bytes) -> list[tuple[str, bytes]]:
    parts = [part for part in email.message_from_bytes(raw).walk() if not part.is_multipart()]
    return [(part.get_content_type(), bytes(part.get_payload(decode=True))) for part in parts]


def nested(subject: str) -> bytes:
    """Accented text, octets, and a forwarded message, all in 8 bits, with a DKIM signature."""
    forwarded = letters.awkward("inner")
    text = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    text += "El ñandú corrió por la pampa.\r\n.\r\n".encode()
    picture = b"Content-Type: image/x-raw\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + b"\xfe\xff \t\r\n" * 40
    inner = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + forwarded
    body = b"".join(b"--out\r\n" + part + b"\r\n" for part in (text, picture, inner)) + b"--out--\r\n"
    header = f"DKIM-Signature: v=1; a=rsa-sha256; d=palomar.test; s=x; b=x\r\nFrom: {ANA}\r\nTo: {INES}\r\n"
    header += f"Subject: {subject}\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{subject}@palomar.test>\r\n"
    kind = (
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="out"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    )
    return (header + kind).encode() + body


def test_a_host_without_8bitmime_gets_seven_bits_that_mean_the_same(appliance: Appliance, mx: Postfix) -> None:
    sent = nested("ext-down")
    submit(appliance, sent, INES, options=["BODY=8BITMIME"])
    kept = mx.wait("ext-down")
    assert kept.isascii()
    assert leaves(kept) == leaves(sent)
    (row,) = [row for row in appliance.ask("trace", "ext-down@palomar.test") if row["what"] == "delivered"]
    assert "converted to 7bit for a host without 8BITMIME, which breaks the DKIM signature of palomar.test" in str(row)


def test_success_is_told_where_the_next_host_would_not(appliance: Appliance, mx: Postfix) -> None:
    sent = letters.plain("ext-dsn", to=INES, sender=ANA, lines=("plain",))
    submit(appliance, sent, INES, options=["RET=HDRS", "ENVID=ext+3D1"], rcpt=["NOTIFY=SUCCESS,FAILURE"])
    mx.wait("ext-dsn")
    notice = inbox(appliance, "Original-Envelope-Id: ext=1")
    assert b"\r\nAction: relayed\r\n" in notice
    assert b"Content-Type: text/rfc822-headers" in notice


def waiting(appliance: Appliance, recipient: str) -> list[str]:
    return [row["name"] for row in appliance.queued if row["recipient"] == recipient]


def test_mail_for_later_outlives_a_restart_and_can_be_taken_back(appliance: Appliance, mx: Postfix) -> None:
    sent = letters.plain("ext-later", to=INES, sender=ANA)
    submit(appliance, sent, INES, options=["HOLDFOR=86400", "BODY=8BITMIME"])
    submit(appliance, sent.replace(b"ext-later", b"ext-later2"), ANA, options=["HOLDFOR=86400", "BODY=8BITMIME"])
    appliance.stop()
    appliance.start()
    submit(appliance, letters.plain("ext-now", to=INES, sender=ANA, lines=("now",)), INES)
    mx.wait("ext-now")  # what came after it has left; what is for later waits
    (outside,), (here,) = waiting(appliance, INES), waiting(appliance, ANA)
    assert all(b"ext-later" not in one for one in mx.mailbox())
    appliance.command("queue", "remove", "--yes", outside, here)
    assert waiting(appliance, INES) + waiting(appliance, ANA) == []


def curl(appliance: Appliance, home: Path, command: str, *arguments: str, port: str = "mx", status: int = 0) -> str:
    url = f"smtp://127.0.0.1:{appliance.ports[port]}/curl.test"
    done = run("curl", "-sSv", "-m", "20", *arguments, "-X", command, url, home=home, statuses=(status,))
    return str(done.out) + str(done.err)


def test_curl_asks_for_the_mail_of_a_domain_and_for_addresses(appliance: Appliance, tmp_path: Path) -> None:
    submit(appliance, letters.plain("ext-away", sender=ANA, lines=("x",)), "x@away.test")
    assert "253 2.0.0 OK, 1 pending messages for away.test started" in curl(appliance, tmp_path, "ETRN away.test")
    again = curl(appliance, tmp_path, "ETRN away.test", status=8)
    assert "458 4.7.1 Unable to queue messages" in again
    assert "459 4.7.1" in curl(appliance, tmp_path, "ETRN outside.test", status=8)
    login = ("-u", f"{ANA}:{PASSWORD}")
    assert f"250 2.1.5 <{ANA}>" in curl(appliance, tmp_path, f"VRFY {ANA}", *login, port="submission")
    assert "252 2.1.5" in curl(appliance, tmp_path, f"VRFY {ANA}")


def kept(folder: Path, name: str) -> list[bytes]:
    new = folder / "mail" / name / "new"
    return [path.read_bytes().replace(b"\n", b"\r\n") for path in new.iterdir()] if new.is_dir() else []


@pytest.mark.programs("dovecot")
def test_dovecot_takes_the_mail_of_an_inner_domain_and_answers_for_each(appliance: Appliance, dovecot: Path) -> None:
    sent = letters.awkward("lmtp-dovecot", to="ana@inside.test", sender=ANA)
    appliance.deliver(sent, "ana@inside.test", "gone@inside.test", "ines@inside.test", sender=ANA)
    for name in ("ana", "ines"):
        (one,) = wait_for(lambda name=name: kept(dovecot, name), f"mail for {name}", _START_S)
        assert letters.as_sent(one, hops=2) == sent
    assert b"Action: failed" in inbox(appliance, "gone@inside.test")
