"""A running appliance with Debian's tesseract, and with scorers that are not there: mail goes on, the trace tells."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from tests.e2e.appliance_process import Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.plugins.spam.ocr.pictures import WATCHES, png

pytestmark = [pytest.mark.e2e, pytest.mark.programs("tesseract")]

PLUGINS = '"spam.ocr", "spam.bayes", "spam.rspamd", "spam.spamd", "spam.judge"'


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    return make_appliance(
        top=f'plugins = [{PLUGINS}, "mda", "smtp", "imap4", "pop3", "smarthost", "relay"]',
        extra="[spam.ocr]\nseconds = 45\n"
        + "".join(f'[spam.{n}]\nsocket = "unix:/nowhere"\n' for n in ("rspamd", "spamd")),
    )


def test_mail_goes_on_and_the_trace_tells(appliance: Appliance) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "ana@palomar.test", "picture"
    message.set_content("see there")
    for image in (WATCHES, png(60_000, 60_000)):  # the second is never decoded
        message.add_attachment(image, maintype="image", subtype="png")
    appliance.deliver(message.as_bytes().replace(b"\n", b"\r\n"))
    assert b"Subject: picture" in inbox(appliance, "picture")
    why = appliance.command("spam", "why", "ines@example.org").stdout
    for words in ("1 of its images say something", "Cheap watches today", "unavailable"):
        assert words in why, why
    status = appliance.command("status", check=False).stdout
    assert "Rspamd cannot be asked" in status
