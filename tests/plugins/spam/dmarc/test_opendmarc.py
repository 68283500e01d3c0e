"""The same mail before OpenDMARC: both find the same policies and the same alignment, but for what is explained."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import publicsuffixlist
import pytest

from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.mechanism import Dmarc
from tests.e2e import programs
from tests.plugins.spam.stranger import core_with, envelope, session

pytestmark = pytest.mark.programs("opendmarc")

RECORDS = {
    "strict.com": "v=DMARC1; p=reject; adkim=s; aspf=s",
    "relaxed.com": "v=DMARC1; p=quarantine; sp=none",
    "half.com": "v=DMARC1; p=reject; adkim=s; aspf=r",
    "watch.com": "v=DMARC1; p=none; sp=reject",
    "own.relaxed.com": "v=DMARC1; p=reject",
    "some.com": "v=DMARC1; p=reject; pct=100; rua=mailto:r@some.com; fo=1:d; ri=3600",
    "firm.co.uk": "v=DMARC1; p=reject",
    "spaced.com": " v=DMARC1 ;p=reject ; adkim=r ;",
    "upper.com": "v=DMARC1; p=REJECT; ASPF=S",
    "odd.com": "v=DMARC1; p=reject; nonsense=1; adkim=x",
}
# The author, whom SPF proves, whom DKIM proves; empty is nobody.
CASES = [
    *((f"a@{domain}", spf, dkim) for domain in RECORDS for spf, dkim in (
        (domain, ""), ("", domain), (f"mail.{domain}", ""), ("", f"mail.{domain}"), (f"x{domain}", ""),
        ("", f"{domain}.evil.net"), ("", ""),
    )),
    ("a@below.relaxed.com", "relaxed.com", ""), ("a@below.relaxed.com", "", "other.relaxed.com"),
    ("a@below.relaxed.com", "", ""), ("a@below.strict.com", "strict.com", ""), ("a@below.strict.com", "", ""),
    ("a@below.watch.com", "", ""), ("a@x.own.relaxed.com", "", ""), ("a@own.relaxed.com", "relaxed.com", ""),
    ("a@dept.firm.co.uk", "firm.co.uk", ""), ("a@firm.co.uk", "other.co.uk", ""), ("a@firm.co.uk", "", "co.uk"),
    ("a@nothing.com", "nothing.com", ""), ("a@nothing.com", "", ""), ("a@STRICT.com", "Strict.COM", ""),
    ('"A B" <a@strict.com>', "strict.com", ""), ("=?utf-8?q?x?= <a@strict.com>", "", ""),
    ("a@strict.com (x@watch.com)", "", "strict.com"),
]  # fmt: skip


# Where both differ, by what each finds, and why OpenDMARC 1.4 is not followed.
EXPLAINED = {
    # It takes a domain below the author's for aligned in strict mode, and one above it that is a public suffix: it
    # compares beginnings of names. RFC 7489 section 3.1: strict is identical.
    ("a@strict.com", "mail.strict.com", ""): ("fail (p=reject", "pass"),
    ("a@strict.com", "", "mail.strict.com"): ("fail (p=reject", "pass"),
    ("a@half.com", "", "mail.half.com"): ("fail (p=reject", "pass"),
    ("a@upper.com", "mail.upper.com", ""): ("fail (p=reject", "pass"),
    ("a@firm.co.uk", "", "co.uk"): ("fail (p=reject", "pass"),
    # It drops a record for a value that is none. RFC 7489 section 6.3: such a tag has its default.
    ("a@odd.com", "odd.com", ""): ("pass", "permerror"),
    ("a@odd.com", "", "odd.com"): ("pass", "permerror"),
    ("a@odd.com", "mail.odd.com", ""): ("pass", "permerror"),
    ("a@odd.com", "", "mail.odd.com"): ("pass", "permerror"),
    ("a@odd.com", "xodd.com", ""): ("fail (p=reject", "permerror"),
    ("a@odd.com", "", "odd.com.evil.net"): ("fail (p=reject", "permerror"),
    ("a@odd.com", "", ""): ("fail (p=reject", "permerror"),
    # Programs that show the comment show another author, whose domain we ask as well.
    ("a@strict.com (x@watch.com)", "", "strict.com"): ("fail (p=none", "pass"),
}


def by_opendmarc(folder: Path) -> list[str]:
    """What it says of each case: the result, and of a fail what the domain asks for (p, or sp)."""
    suffixes = Path(publicsuffixlist.__file__).parent / "public_suffix_list.dat"
    (folder / "dns").write_text("".join(f"_dmarc.{domain} {text}\n" for domain, text in RECORDS.items()))
    (folder / "opendmarc.conf").write_text(
        "AuthservID mx.test\nTrustedAuthservIDs mx.test\nTestDNSData dns\nSyslog false\n"
        f"PublicSuffixList {suffixes}\n"
    )  # fmt: skip
    for number, (author, spf, dkim) in enumerate(CASES):
        found = [f"spf=pass smtp.mailfrom={spf}"] if spf else ["spf=fail smtp.mailfrom=nobody.test"]
        found += [f"dkim=pass header.d={dkim}"] if dkim else []
        said = f"Authentication-Results: mx.test; {'; '.join(found)}\n"
        more = f"Date: Thu, 1 Jan 2026 10:00:00 +0000\nMessage-ID: <{number}@test>\n"
        (folder / f"{number}.eml").write_text(f"{said}From: {author}\n{more}\ntext\n")
    said_of: dict[int, str] = {}
    for sender in dict.fromkeys(spf for _, spf, _ in CASES):  # which it takes from the envelope: one run for each
        numbers = [number for number, (_, spf, _) in enumerate(CASES) if spf == sender]
        files = ",".join(f"{number}.eml" for number in numbers)
        done = subprocess.run(
            [programs.find("opendmarc"), "-c", "opendmarc.conf", "-vvv", "-t", files],
            env={**os.environ, "OPENDMARC_TEST_ENVFROM": f"<a@{sender or 'nobody.test'}>"},
            cwd=folder, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        results = re.findall(r"hvalue='mx\.test; dmarc=(fail \(p=\w+|\w+)", done.stdout)
        said_of |= dict(zip(numbers, results, strict=True))
    return [said_of[number] for number in range(len(CASES))]


async def by_us(folder: Path) -> list[str]:
    zone = "\n".join(f'_dmarc.{domain}. TXT "{text}"' for domain, text in RECORDS.items())
    there = "\n".join(f"below.{domain}. A 192.0.2.1" for domain in RECORDS)
    dmarc = Dmarc(core_with(folder, f"{zone}\n{there}", DmarcConfig()))
    results = []
    for author, spf, dkim in CASES:
        findings = [Finding("spf", "pass" if spf else "fail", domain=spf.lower() or "nobody.test")]
        findings += [Finding("dkim", "pass", domain=dkim.lower())] if dkim else []
        message = Message.parse(f"From: {author}\r\n\r\n".encode())
        (one,) = await dmarc.authenticate_message(session(), envelope(), message, "policy", findings) or ()
        results.append(one.header.partition("=")[2].partition(" dis=" if one.result == "fail" else " ")[0])
    return results


async def test_both_find_the_same(tmp_path: Path) -> None:
    theirs, ours = by_opendmarc(tmp_path), await by_us(tmp_path)
    assert len(CASES) > 80
    differing = {case: (one, other) for case, one, other in zip(CASES, ours, theirs, strict=True) if one != other}
    assert differing == EXPLAINED
    assert {"pass", "none", "fail (p=none", "fail (p=quarantine", "fail (p=reject"} == set(ours)


AUTHORS = {
    "one": (b"From: a@watch.com\n", False),
    "one domain": (b"From: a@watch.com, b@watch.com\n", False),
    "fields": (b"From: a@watch.com\nFrom: b@strict.com\n", True),
    "fields the other way": (b"From: b@strict.com\nFrom: a@watch.com\n", True),
    "list": (b"From: a@watch.com, b@strict.com\n", True),
    "list the other way": (b"From: b@strict.com, a@watch.com\n", True),
}


async def test_both_refuse_authors_of_several_domains(tmp_path: Path) -> None:
    (tmp_path / "dns").write_text("".join(f"_dmarc.{domain} {text}\n" for domain, text in RECORDS.items()))
    (tmp_path / "opendmarc.conf").write_text(
        "AuthservID mx.test\nTrustedAuthservIDs mx.test\nTestDNSData dns\nSyslog false\nRequiredHeaders true\n"
        "RejectMultiValueFrom true\nRejectFailures true\n"
    )
    for name, (text, _) in AUTHORS.items():
        date = b"Date: Thu, 1 Jan 2026 10:00:00 +0000\nMessage-ID: <1@test>\n\ntext\n"
        said = b"Authentication-Results: mx.test; spf=pass smtp.mailfrom=watch.com\n"
        (tmp_path / f"{name}.eml").write_bytes(said + text + date)
    done = subprocess.run(
        [programs.find("opendmarc"), "-c", "opendmarc.conf", "-vvv", "-t", ",".join(f"{name}.eml" for name in AUTHORS)],
        env={**os.environ, "OPENDMARC_TEST_ENVFROM": "<a@watch.com>"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    zone = "\n".join(f'_dmarc.{domain}. TXT "{text}"' for domain, text in RECORDS.items())
    dmarc = Dmarc(core_with(tmp_path, zone, DmarcConfig()))
    for name, (text, refused) in AUTHORS.items():
        assert (f"{name}.eml: mlfi_eom() returned SMFIS_REJECT" in done.stderr) == refused, name
        message = Message.parse(text.replace(b"\n", b"\r\n") + b"\r\n")
        proven = [Finding("spf", "pass", domain="watch.com")]
        (one,) = await dmarc.authenticate_message(session(), envelope(), message, "policy", proven) or ()
        assert (one.action == "refuse") == refused, name
