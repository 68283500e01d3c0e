"""Mail with a file: two parts, and the file as it was."""

from __future__ import annotations

import pytest

from appliance.mail.attached import Attached, mail_with_file
from appliance.mail.text import part_octets


@pytest.mark.parametrize("octets", [b"", b"x", bytes(range(256)) * 30])
@pytest.mark.parametrize("kind", ["multipart/mixed", 'multipart/report; report-type="tlsrpt"'])
def test_the_file_comes_out_as_it_was(octets: bytes, kind: str) -> None:
    file = Attached("a!b.xml.gz", "application/gzip", octets)
    message = mail_with_file(["From: a@b.test", "Subject: a", " b"], ["A file.", "Read it."], file, kind=kind)
    assert message.get(b"subject") == b"a\r\n b"
    root = message.structure
    text, attached = root.parts
    assert root.subtype == kind.partition(";")[0].partition("/")[2]
    assert root.param("report-type") == ("tlsrpt" if "tlsrpt" in kind else None)
    assert part_octets(text, message.text) == b"A file.\r\nRead it.\r\n"
    assert part_octets(attached, message.text) == octets
    assert attached.disposition == ("attachment", (("filename", "a!b.xml.gz"),))
    assert all(len(line) < 100 for line in bytes(message).split(b"\r\n"))
