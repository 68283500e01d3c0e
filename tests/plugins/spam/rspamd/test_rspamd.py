"""Rspamd as it answers, hangs, floods and talks nonsense; and Debian's."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.address import Address
from appliance.mail.envelope import Recipient
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.protocol_daemon import DaemonError
from plugins.spam.rspamd.config import RspamdConfig
from plugins.spam.rspamd.protocol_checkv2 import MAX_ANSWER, is_whole, read_answer, request
from plugins.spam.rspamd.scorer import Rspamd
from tests.e2e import programs
from tests.plugins.spam.fake_daemon import FakeDaemon, running
from tests.plugins.spam.stranger import MESSAGE, core_with, envelope, session
from tests.ports import free_ports

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-" + "TEST-EMAIL*C.34X"


def answer(body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json") -> bytes:
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def said(score: float, action: str = "add header", **symbols: float) -> bytes:
    named = {name: {"name": name, "score": weight, "options": ["x"]} for name, weight in symbols.items()}
    return answer(json.dumps({"score": score, "required_score": 15, "action": action, "symbols": named}).encode())


async def found(folder: Path, daemon: FakeDaemon, message: Message = MESSAGE, **config: Any) -> Finding:
    async with daemon.listening(folder) as socket:
        one = Rspamd(core_with(folder, "", RspamdConfig(socket=socket, **config)))
        (finding,) = await one.score_message(session(), envelope(), message) or ()
        assert bool(one.status(one._core)) == (finding.result == "unavailable")
        return finding


async def test_a_score_with_its_symbols(tmp_path: Path) -> None:
    finding = await found(tmp_path, FakeDaemon(said(7.5, BAYES_SPAM=5.1, SPF=-0.2)))
    assert (finding.result, finding.score, finding.evidence) == ("spam", 6.0, "BAYES_SPAM +5.1, SPF -0.2")
    assert "7.5 of 15.0 points (add header)" in finding.text


@pytest.mark.parametrize(
    ("score", "action", "ours"), [(100.0, "reject", 10.0), (-50.0, "no action", -3.0), (2.0, "greylist", 1.6)]
)
async def test_its_word_has_bounds(tmp_path: Path, score: float, action: str, ours: float) -> None:
    finding = await found(tmp_path, FakeDaemon(said(score, action)))
    assert (finding.score, finding.result) == (ours, "spam" if action == "reject" else "ham")


async def test_what_it_is_told(tmp_path: Path) -> None:
    daemon = FakeDaemon(said(0.0))
    async with daemon.listening(tmp_path) as socket:
        one = Rspamd(core_with(tmp_path, "", RspamdConfig(socket=socket)))
        about = envelope()
        about.recipients.append(Recipient(Address.parse("ana@office.test")))
        await one.score_message(session(helo="a\r\nPass: all"), about, MESSAGE)
        assert await one.score_message(session(account="ana"), about, MESSAGE) is None
    head, _, body = daemon.heard.partition(b"\r\n\r\n")
    assert body == bytes(MESSAGE)
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /checkv2 HTTP/1.1"
    assert set(lines) >= {
        b"IP: 192.0.2.7",
        b"Helo: a??Pass: all",
        b"From: luis@elsewhere.test",
        b"Rcpt: ana@office.test",
    }


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (MAX_ANSWER + 1), answer(b"{}"), answer(b"[" * 100_000),
     answer(b'{"score": "7"}'), answer(b'{"score": 1e999}'),
     answer(b'{"score": 1, "symbols": {"A": {"score": 1e999}}}'),
     answer(b'{"score": NaN}'), answer(b'{"score": 5}', b"HTTP/1.1 403 Forbidden"), answer(b'{"score": 5}')[:-3],
     b"220 mail ESMTP\r\n", answer(b'{"score": 1, "symbols": 7}'), b"\0" * 1000],
    ids=["nothing", "empty", "flood", "no-score", "depth", "text", "infinite", "infinite-symbol", "nan", "forbidden",
         "cut", "smtp", "symbols", "nul"],
)  # fmt: skip
@pytest.mark.parametrize("absence", ["accept", "defer"])
async def test_answers_that_are_none(tmp_path: Path, said: bytes, absence: str) -> None:
    finding = await found(tmp_path, FakeDaemon(said), on_absence=absence)
    assert (finding.result, finding.score) == ("unavailable", 0.0)
    assert finding.absence == ("defer" if absence == "defer" else "ignore")
    assert finding.text.isprintable()


async def test_one_that_hangs_floods_or_is_not_there(tmp_path: Path) -> None:
    assert (await found(tmp_path, FakeDaemon(b"", hang=True), timeout=0.3)).result == "unavailable"
    flooded = await found(tmp_path, FakeDaemon(b"x" * 65_536, flood=True))
    assert (flooded.result, "it answered" in flooded.text) == ("unavailable", True)
    (tmp_path / "socket").unlink(missing_ok=True)
    one = Rspamd(core_with(tmp_path, "", RspamdConfig(socket="unix:/nowhere")))
    (finding,) = await one.score_message(session(), envelope(), MESSAGE) or ()
    assert (finding.result, "No such file" in finding.text) == ("unavailable", True)


async def test_an_answer_before_the_end_and_a_message_too_large(tmp_path: Path) -> None:
    large = Message.parse(b"A: b\r\n\r\n" + b"line of text\r\n" * 200_000)
    early = FakeDaemon(answer(b'{"error": "too large"}', b"HTTP/1.1 413 Too large"), early=True)
    finding = await found(tmp_path, early, large)
    assert finding.result == "unavailable"
    assert (await found(tmp_path, FakeDaemon(b""), large, max_mib=1)).result == "unscanned"


@given(st.binary(max_size=300), st.integers(0, 60), st.binary(max_size=5))
def test_any_answer_is_read_or_refused(noise: bytes, place: int, change: bytes) -> None:
    good = said(3.0, A=1.0)
    assert is_whole(good)
    assert not is_whole(good[:-1])
    broken = good[: -place or None] + change + good[len(good) - place + len(change) :]
    for octets in (noise, answer(noise), broken):
        is_whole(octets)
        with contextlib.suppress(DaemonError):
            assert abs(read_answer(octets).score) < 1e300


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_header_field_gets_into_another(helo: str, sender: str) -> None:
    head = b"".join(request(MESSAGE, [("Helo", helo), ("From", sender)])).partition(b"\r\n\r\n")[0]
    assert [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]] == [
        b"Host", b"Connection", b"Helo", b"From", b"Content-Length",
    ]  # fmt: skip


@pytest.mark.programs("rspamd")
async def test_debian_s_rspamd(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "tld").write_text("com\ntest\n")  # the whole list takes it half a minute to compile
    (tmp_path / "conf").write_text(f"""
options {{
  pidfile = "{tmp_path}/pid"; tempdir = "{tmp_path}"; hs_cache_dir = "{tmp_path}"; control_socket = "{tmp_path}/ctl";
  filters = ""; dns {{ nameserver = ["127.0.0.1:1"]; timeout = 1s; }}
  url_tld = "{tmp_path}/tld"; disable_hyperscan = true; enable_test_patterns = true;
}}
logging {{ type = "console"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
""")
    command = [programs.find("rspamd"), "-f", "--insecure", "-c", str(tmp_path / "conf")]
    spam = Message.parse(f"From: a@b.test\r\nSubject: x\r\n\r\n{GTUBE}\r\n".encode())
    with running(command, port, tmp_path / "log"):
        one = Rspamd(core_with(tmp_path, "", RspamdConfig(socket=f"127.0.0.1:{port}", timeout=50)))
        results = [await one.score_message(session(), envelope(), message) or () for message in (spam, MESSAGE)]
    ((first,), (second,)) = results
    assert (first.result, first.score, "GTUBE" in first.evidence) == ("spam", 10.0, True)
    assert (second.result, second.score) == ("ham", 0.0)
