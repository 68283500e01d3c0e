"""spamd as it answers, hangs, floods and talks nonsense; and Debian's."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.protocol_daemon import DaemonError
from plugins.spam.spamd.config import SpamdConfig
from plugins.spam.spamd.protocol_spamc import MAX_ANSWER, is_whole, read_answer
from plugins.spam.spamd.scorer import Spamd
from tests.e2e import programs
from tests.plugins.spam.fake_daemon import FakeDaemon, running
from tests.plugins.spam.stranger import MESSAGE, core_with, session
from tests.ports import free_ports


def said(spam: str = "True ; 7.5 / 5.0", symbols: bytes = b"HTML_ONLY,URI_HEX", status: bytes = b"0 EX_OK") -> bytes:
    head = b"SPAMD/1.1 %b\r\nContent-length: %d\r\nSpam: %b\r\n\r\n" % (status, len(symbols), spam.encode())
    return head + symbols


async def found(folder: Path, daemon: FakeDaemon, message: Message = MESSAGE, **config: Any) -> Finding:
    async with daemon.listening(folder) as socket:
        one = Spamd(core_with(folder, "", SpamdConfig(socket=socket, **config)))
        (finding,) = await one.score_message(session(), message) or ()
        assert bool(one.status(one._core)) == (finding.result == "unavailable")
        return finding


async def test_a_score_with_its_rules(tmp_path: Path) -> None:
    daemon = FakeDaemon(said())
    finding = await found(tmp_path, daemon, user="ana")
    assert (finding.result, finding.score, finding.evidence) == ("spam", 7.5, "HTML_ONLY, URI_HEX")
    head, _, body = daemon.heard.partition(b"\r\n\r\n")
    assert head == b"SYMBOLS SPAMC/1.5\r\nUser: ana\r\nContent-length: %d" % MESSAGE.size
    assert body == bytes(MESSAGE)


@pytest.mark.parametrize(
    ("spam", "result", "score"),
    [("False ; -50.0 / 5.0", "ham", -3.0), ("True ; 999999.9 / 5.0", "spam", 10.0), ("Yes;5/5", "spam", 5.0)],
)
async def test_its_word_has_bounds(tmp_path: Path, spam: str, result: str, score: float) -> None:
    finding = await found(tmp_path, FakeDaemon(said(spam)))
    assert (finding.result, finding.score) == (result, score)


@pytest.mark.parametrize(
    "answer",
    [b"", b"SPAMD/1.1 0 EX_OK\r\n\r\n", said("Maybe ; 1 / 2"), said("True ; 1e9 / 2"), said("True ; nan / 2"),
     said(status=b"76 EX_PROTOCOL"), b"x" * (MAX_ANSWER + 1), b"SPAMD/1.1 " + b"9" * 50_000, b"\0\r\n\r\n"],
    ids=["nothing", "no-score", "maybe", "exponent", "nan", "error", "flood", "digits", "nul"],
)  # fmt: skip
@pytest.mark.parametrize("absence", ["accept", "defer"])
async def test_answers_that_are_none(tmp_path: Path, answer: bytes, absence: str) -> None:
    finding = await found(tmp_path, FakeDaemon(answer), on_absence=absence)
    assert (finding.result, finding.score) == ("unavailable", 0.0)
    assert finding.absence == ("defer" if absence == "defer" else "ignore")
    assert finding.text.isprintable()


async def test_one_that_hangs_floods_or_is_not_there(tmp_path: Path) -> None:
    assert (await found(tmp_path, FakeDaemon(b"", hang=True), timeout=0.3)).result == "unavailable"
    flooded = await found(tmp_path, FakeDaemon(b"x" * 65_536, flood=True))
    assert (flooded.result, "it answered" in flooded.text) == ("unavailable", True)
    one = Spamd(core_with(tmp_path, "", SpamdConfig(socket="unix:/nowhere")))
    (finding,) = await one.score_message(session(), MESSAGE) or ()
    assert (finding.result, "No such file" in finding.text) == ("unavailable", True)


async def test_what_it_is_not_shown(tmp_path: Path) -> None:
    large = Message.parse(b"A: b\r\n\r\n" + b"line of text\r\n" * 100_000)
    assert (await found(tmp_path, FakeDaemon(said()), large)).result == "unscanned"
    one = Spamd(core_with(tmp_path, "", SpamdConfig()))
    assert await one.score_message(session(account="ana"), MESSAGE) is None


@given(st.binary(max_size=300), st.integers(0, 60), st.binary(max_size=5))
def test_any_answer_is_read_or_refused(noise: bytes, place: int, change: bytes) -> None:
    good = said()
    assert is_whole(good)
    assert not is_whole(good[:-1])
    for octets in (noise, good[:place] + change + good[place + len(change) :], good[:place] + noise):
        is_whole(octets)
        with contextlib.suppress(DaemonError):
            assert abs(read_answer(octets).score) < 1e7


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may read: spamd started by root reads its rules as nobody."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.programs("spamd")
async def test_debian_s_spamd(tmp_path: Path, open_folder: Path) -> None:
    (port,) = free_ports(1)
    for name in ("rules", "site"):
        (open_folder / name).mkdir()
    (open_folder / "site" / "v320.pre").write_text("loadplugin Mail::SpamAssassin::Plugin::Check\n")
    (open_folder / "rules" / "own.cf").write_text(
        "required_score 5\nbody OWN_RULE /cheap watches/i\nscore OWN_RULE 7.5\n"
    )
    command = [
        programs.find("spamd"), "-L", "-x", "--listen", f"127.0.0.1:{port}", "--max-children", "1", "--min-children",
        "1", f"--configpath={open_folder}/rules", f"--siteconfigpath={open_folder}/site", "-s", "stderr",
        "-r", f"{tmp_path}/pid",
    ]  # fmt: skip
    spam = Message.parse(b"From: a@b.test\r\nSubject: x\r\n\r\nCheap watches\r\n")
    with running(command, port, tmp_path / "log"):
        one = Spamd(core_with(tmp_path, "", SpamdConfig(socket=f"127.0.0.1:{port}", timeout=50)))
        results = [await one.score_message(session(), message) or () for message in (spam, MESSAGE)]
    ((first,), (second,)) = results
    log = (tmp_path / "log").read_text()
    assert (first.result, first.score, first.evidence) == ("spam", 7.5, "OWN_RULE"), (first.text, log)
    assert (second.result, second.score) == ("ham", 0.0)
