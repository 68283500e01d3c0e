"""Mail in and out of a guest by every door: SMTP, submission, IMAP, POP3. The one account is ana."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import ssl

from image.qemu import Guest

MAIL_S = 120.0
ANA, PASSWORD = "ana@office.example", "pigeons come home"
SETUP = f"""
hostname = "mail.office.example"
domains = ["office.example"]

[setup]
time_zone = "Europe/Madrid"

[[setup.accounts]]
name = "{ANA}"
password = "{PASSWORD}"
"""
"""For `palomar.toml`."""


def _letter(subject: str) -> bytes:
    return f"From: <guest@elsewhere.example>\r\nTo: <{ANA}>\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode()


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the appliance's certificate is its own
    return context


def send(guest: Guest, subject: str) -> None:
    """A stranger's message to ana, by SMTP."""
    with smtplib.SMTP("127.0.0.1", guest.ports["smtp"], timeout=MAIL_S) as client:
        client.sendmail("guest@elsewhere.example", [ANA], _letter(subject))


def submit(guest: Guest, subject: str, recipient: str = ANA) -> None:
    """A message of ana, to herself if to nobody else, by submission with STARTTLS and AUTH."""
    with smtplib.SMTP("127.0.0.1", guest.ports["submission"], timeout=MAIL_S) as client:
        client.starttls(context=_context())
        client.login(ANA, PASSWORD)
        client.sendmail(ANA, [recipient], _letter(subject))


def subjects_by_imap(guest: Guest, count: int) -> set[str]:
    """What lies in ana's INBOX, which must be `count` messages."""
    with imaplib.IMAP4_SSL("127.0.0.1", guest.ports["imaps"], ssl_context=_context(), timeout=MAIL_S) as client:
        client.login(ANA, PASSWORD)
        assert client.select("INBOX", readonly=True) == ("OK", [b"%d" % count])
        _, answer = client.fetch(f"1:{count}", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return {part[1].decode().removeprefix("Subject: ").strip() for part in answer if isinstance(part, tuple)}


def subjects_by_pop3(guest: Guest) -> set[str]:
    """What lies in ana's INBOX."""
    client = poplib.POP3_SSL("127.0.0.1", guest.ports["pop3s"], context=_context(), timeout=MAIL_S)
    client.user(ANA)
    client.pass_(PASSWORD)
    found = set()
    for number in range(1, client.stat()[0] + 1):
        _, lines, _ = client.top(number, 0)
        found |= {line.decode().removeprefix("Subject: ") for line in lines if line.startswith(b"Subject: ")}
    client.quit()
    return found
