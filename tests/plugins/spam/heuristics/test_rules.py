"""The rules one by one: mail that each must know, and mail that none may."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.message import MAX_HEADER, Message
from plugins.spam.heuristics.config import HeuristicsConfig
from plugins.spam.heuristics.heuristics import Heuristics, findings, scores
from plugins.spam.heuristics.protocol_facts import MAX_LINKS, MAX_TAGS, facts_of
from plugins.spam.heuristics.protocol_rules import RULES, hits
from tests.plugins.spam.stranger import core_with, session

AT = 1_704_103_200.0  # Mon, 01 Jan 2024 10:00:00 +0000
PLAIN = (
    "From: Ana Pérez <ana@office.example>\r\nTo: Luis <luis@home.example>\r\nSubject: Lunch on Friday\r\n"
    "Date: Mon, 01 Jan 2024 09:59:00 +0000\r\nMessage-ID: <1.2@mail.office.example>\r\n"
)
BODY = "\r\nDear Luis,\r\n\r\nshall we meet at one? See http://office.example/menu for what there is.\r\n"
HTML = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"


def letter(change: str = "", body: str = BODY, more: str = "") -> Message:
    """Ordinary mail, with one field changed or more of them."""
    head = PLAIN
    if change:
        name = change.partition(":")[0]
        head = re.sub(rf"(?m)^{name}: [^\r]*", lambda _: change, head)
    return Message.parse((head + more + body).encode())


def page(html: str, more: str = "") -> Message:
    return letter(more=HTML + more, body=f"\r\n<html><body>{html}</body></html>\r\n")


def fitting(message: Message, at: float = AT) -> set[str]:
    return {rule.name for rule, _ in hits(facts_of(message, at))}


def attached(name: str, kind: str = "application/octet-stream", words: str = "See there, it is all in it.") -> Message:
    more = 'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    body = f"\r\n--b\r\n\r\n{words}\r\n--b\r\nContent-Type: {kind}; name*=utf-8''{name}\r\n\r\nxxxx\r\n--b--\r\n"
    return letter(more=more, body=body)


def test_ordinary_mail_fits_no_rule() -> None:
    assert fitting(letter()) == set()


LINKS = "<p>See our page and what is on it this week in the town hall.</p>"
CASES = {
    "from_missing": letter("From: nobody"),
    "from_twice": letter(more="From: Luis <luis@home.example>\r\n"),
    "from_name_is_other_address": letter('From: "boss@bank.example" <x@elsewhere.test>'),
    "from_without_name": letter("From: ana@office.example"),
    "from_digits": letter("From: Ana <a48127@office.example>"),
    "from_random": letter("From: Ana <xkzqwrtp@office.example>"),
    "from_is_recipient": letter("From: Luis <luis@home.example>"),
    "from_homograph": letter("From: P\u0430yp\u0430l <a@office.example>"),
    "reply_to_free": letter(more="Reply-To: x@gmail.com\r\n"),
    "to_undisclosed": letter("To: undisclosed-recipients:;"),
    "to_many": letter("To: " + ", ".join(f"a{n}@home.example" for n in range(12))),
    "subject_capitals": letter("Subject: LUNCH ON FRIDAY"),
    "subject_tail": letter("Subject: Lunch on Friday            qx81"),
    "subject_false_answer": letter("Subject: Re: your order"),
    "subject_spaced": letter("Subject: V I A G R A today"),
    "subject_marked": letter("Subject: ADV: lunch"),
    "message_id_malformed": letter("Message-ID: <1.2>"),
    "mailer_outlook_forged": letter(more="X-Mailer: Microsoft Outlook 16.0\r\n"),
    "header_twice": letter(more="Subject: another\r\n"),
    "date_unreadable": letter("Date: soon"),
    "date_future": letter("Date: Wed, 03 Jan 2024 10:00:00 +0000"),
    "date_past": letter("Date: Wed, 20 Dec 2023 10:00:00 +0000"),
    "date_zone": letter("Date: Mon, 01 Jan 2024 09:59:00 -1703"),
    "received_forged": letter(more="Received: from mx.yahoo.com (host.example [192.0.2.1]) by x; x\r\n"),
    "received_bare_address": letter(more="Received: from 192.0.2.9 (host.example [192.0.2.1]) by x; x\r\n"),
    "html_only": page(LINKS),
    "html_picture": page('<img src="http://x.example/1.gif">'),
    "html_form": page(f"{LINKS}<form action=x><input name=a></form>"),
    "html_password": page(f"{LINKS}<form action=x><input type=password></form>"),
    "html_script": page(f"{LINKS}<script>x()</script>"),
    "html_refresh": page(f"<meta http-equiv=refresh content='0; url=http://x.example'>{LINKS}"),
    "html_hidden": page(f'{LINKS}<div style="display:none">quarterly poetry of the river</div>'),
    "html_split_words": page("<p>via<!-- x -->gra ci<!-- y -->alis le<!-- z -->vitra for everybody here</p>"),
    "html_letters_as_numbers": page("".join(f"&#{ord(char)};" for char in "enlarge it") + LINKS),
    "html_large": page(f'<font size="+3">Large</font>{LINKS}'),
    "link_address": page(f'{LINKS}<a href="http://192.0.2.4/x">here</a>'),
    "link_port": page(f'{LINKS}<a href="http://x.example:8080/x">here</a>'),
    "link_user": page(f'{LINKS}<a href="http://bank.example@x.example/x">here</a>'),
    "link_mismatch": page(f'{LINKS}<a href="http://x.example/x">https://www.bank.test/login</a>'),
    "link_homograph": page(f'{LINKS}<a href="http://p\u0430ypal.example/x">here</a>'),
    "link_data": page(f'{LINKS}<a href="data:text/html,x">here</a>'),
    "link_names_recipient": page(f'{LINKS}<a href="http://x.example/?luis@home.example">here</a>'),
    "link_short": page(f'{LINKS}<a href="http://bit.ly/x">here</a>'),
    "text_homographs": letter(body="\r\nYour p\u0430ssword of the \u0430ccount\r\n"),
    "text_invisible": letter(body="\r\nYo\u200bur pa\u200bss\u200bword\r\n"),
    "text_capitals": letter(body="\r\n" + "THIS IS YOUR LAST CHANCE OF ALL. " * 8),
    "phrase_removal": letter(body="\r\nTo be removed, write to us.\r\n"),
    "phrase_blackmail": letter(body="\r\nSend one bitcoin.\r\n"),
    "charset_unknown": letter(more="Content-Type: text/plain; charset=nonsense\r\n"),
    "attached_direction": attached("report%E2%80%AEfdp.exe"),
    "attached_password": attached("a.zip", words="The password is 1234."),
    "attached_page": attached("invoice.html"),
    "attached_other_type": attached("a.exe", kind="image/png"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_rule_knows_its_trick(name: str) -> None:
    assert name in fitting(CASES[name])


@pytest.mark.parametrize(
    ("html", "absent"),
    [
        ('<a href="http://www.bank.example/x">bank.example</a>', "link_mismatch"),
        ('<a href="http://x.example/x">our page on cars.</a>', "link_mismatch"),
        ('<p style="display:block; font-size:10px">quarterly poetry of the river</p>', "html_hidden"),
        ('<body bgcolor="#ffffff"><font color="#fffffe">quarterly poetry of the river</font>', "html_hidden"),
        ("via<b>gra</b> for every<i>body</i> who is here", "html_split_words"),
    ],
)
def test_what_is_no_trick(html: str, absent: str) -> None:
    assert absent not in fitting(page(html))


def test_every_rule_is_described_and_weighed_once() -> None:
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
    assert all(rule.text and -2 <= rule.weight <= 3 for rule in RULES)
    assert set(scores()) == set(names)


# ── the hook ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def found(folder: Path, message: Message, mail_of: Any = None, **config: Any) -> Any:
    one = Heuristics(core_with(folder, "", HeuristicsConfig(**config)))
    return await one.score_message(mail_of or session(), message)


async def test_findings_say_why(tmp_path: Path) -> None:
    one = next(one for one in await found(tmp_path, CASES["link_user"]) if one.result == "link_user")
    assert (one.name, one.text) == ("heuristics", "a link hides where it leads behind an @")
    assert one.evidence == "http://bank.example@x.example/x"
    assert one.score > 0


async def test_rules_can_be_switched_off_and_weighed(tmp_path: Path) -> None:
    names = [one.result for one in await found(tmp_path, CASES["link_user"], off=("link_user",))]
    assert "link_user" not in names
    assert "html_only" in names
    assert all(one.score == 0 for one in await found(tmp_path, CASES["link_user"], factor=0.0))
    assert sum(one.score for one in await found(tmp_path, CASES["link_user"], most=0.5, factor=5.0)) <= 0.5
    assert [one.setting for one in HeuristicsConfig(off=("nonsense",)).problems()] == ["off"]


async def test_mail_of_our_own_people_passes(tmp_path: Path) -> None:
    assert await found(tmp_path, CASES["link_user"], session(account="ana")) is None


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = {
    "fields": b"a:\r\n" * (MAX_HEADER // 4 - 8) + b"\r\ntext\r\n",
    "long field": b"Subject: " + b"=?utf-8?q?" * 90_000 + b"\r\n\r\n",
    "addresses": b"To: " + b"a@b.example, " * 70_000 + b"\r\n\r\n",
    "anchors": b"Content-Type: text/html\r\n\r\n" + b'<a href="http://x.y' * 500_000,
    "open tags": b"Content-Type: text/html\r\n\r\n" + b"<a " * 1_000_000,
    "comments": b"Content-Type: text/html\r\n\r\n" + b"a<!-- " * 1_000_000,
    "styles": b"Content-Type: text/html\r\n\r\n" + b"<p style='font-size   :   color: #" * 300_000,
    "spaced": b"\r\n" + b"a b " * 1_000_000,
    "digits": b"\r\n" + b"$1,111" * 500_000,
    "addresses in the name": b'From: "' + b"a.-" * 100_000 + b'" <a@b.example>\r\n\r\n',
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000,
    "words": b"\r\n" + "\u0430".encode() * 1_000_000,
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_mail_takes_bounded_time(name: str) -> None:
    message = Message.parse(HOSTILE[name])
    message.fields()
    assert message.structure
    began = time.process_time()
    facts = facts_of(message, AT)
    list(hits(facts))
    assert time.process_time() - began < 0.4
    assert len(facts.links) <= MAX_LINKS


def test_limits_hold() -> None:
    plain = letter(body="\r\n" + "http://x.example/ " * (MAX_LINKS + 20) + "\r\n")
    assert len(facts_of(plain, AT).links) == MAX_LINKS
    assert sum(facts_of(page("<b>" * (MAX_TAGS + 20)), AT).tags.values()) == MAX_TAGS


@given(st.binary(max_size=300), st.lists(st.sampled_from([
    b"<a href=", b"<font color=#fff", b">", b"=?utf-8?b?", b"From: ", b"\r\n", b"Date: ", b"http://", b"@", b"<!--",
    b"style='display:none'", b"&#65;", b"\xd0\xb0", b"To: ", b"Received: from ", b"[",
    b"Content-Type: text/html\r\n\r\n",
]), max_size=30))  # fmt: skip
@settings(max_examples=200)
def test_any_octets_are_judged(noise: bytes, pieces: list[bytes]) -> None:
    raw = b"".join(piece + noise[place : place + 7] for place, piece in enumerate(pieces)) + noise
    config = HeuristicsConfig()
    made = findings(Message.parse(raw), AT, scores(), config)
    assert sum(one.score for one in made) <= config.most + 0.01 * len(made)
    assert all(one.text and one.evidence for one in made)
