"""Whole dialogues as files. Anybody who knows SMTP can add one.

    # Text for people. Directives: `# role: mx|submission|lmtp`, `# peer: IP`, `# via: IP` of a proxy, `# tls: on`,
    # `# sizes: whole`,
    # `# set: name=value`, `# clock: 60` (seconds that pass at each look at the clock).
    S: 220 …                what the server says; `S: (TLS)` a handshake, `S: (closed)` it hangs up
    C: EHLO load.test       what the client sends, with CRLF; several lines in a row are sent in one go
    c: half a line          the same without CRLF
    W: silence | shutdown   what happens after the client's lines
    M: <a@b> c@d,e@f text   the message that the intake was given, without its Received field

In C, c and M: \\r \\n \\t \\0 \\xHH \\\\ stand for octets, {x*100} for repetition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.mail.session import TlsInfo
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import SmtpServer
from tests.plugins.smtp.fake import FakeConnection, FakeCore, Turn, run_session

TRANSCRIPTS = sorted(Path(__file__).parent.joinpath("transcripts").glob("*.txt"))
SIZES = {"whole": 1 << 20, "sevens": 7, "bytes": 1}

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))|\{([^{}*]+)\*(\d+)\}")
LISTS = ("etrn_domains", "priority_from", "xclient_networks", "xforward_networks")
_SINGLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def octets(text: str) -> bytes:
    """Resolve escapes and repetitions."""

    def one(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return bytes([int(found[1], 16)])
        return _SINGLE[found[2]] if found[2] else found[3] * int(found[4])

    return _ESCAPE.sub(one, text.encode())


@dataclass
class Script:
    """One file, read."""

    role: str = "mx"
    peer: str = "192.0.2.7"
    via: str = ""
    tls: bool = False
    sizes: str = ""
    clock: float = 0.0
    set: dict[str, object] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    expected: list[list[bytes]] = field(default_factory=lambda: [[]])  # per turn; the first is the greeting
    messages: list[bytes] = field(default_factory=list)


def read(path: Path) -> Script:
    """Read one transcript."""
    script = Script()
    speaking = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        kind, _, rest = line.partition(": ")
        if directive := re.fullmatch(r"# (role|peer|via|tls|sizes|clock|set): (.*)", line):
            _direct(script, directive[1], directive[2])
        elif line.startswith("#") or not line:
            continue
        elif kind in ("C", "c") or line == "C:":
            if not speaking:
                script.turns.append(Turn())
                script.expected.append([])
            script.turns[-1].client += octets("" if line == "C:" else rest) + (b"\r\n" if kind[0] == "C" else b"")
            speaking = True
        elif kind == "W":
            assert rest in ("silence", "shutdown"), f"{path.name}:{number}"
            if not script.turns:
                script.turns.append(Turn())
                script.expected.append([])
            script.turns[-1].then = rest  # type: ignore[assignment]
            speaking = False
        elif kind == "S":
            script.expected[-1].append(octets(rest))
            speaking = False
        elif kind == "M":
            script.messages.append(octets(rest))
        else:
            raise AssertionError(f"{path.name}:{number}: {line!r}")
    return script


def _direct(script: Script, name: str, value: str) -> None:
    if name == "set":
        key, _, setting = value.partition("=")
        plain = {"True": True, "False": False}.get(setting, int(setting) if setting.isdigit() else setting)
        script.set[key] = tuple(setting.split(",")) if key in LISTS else plain
    elif name == "tls":
        script.tls = value == "on"
    elif name == "clock":
        script.clock = float(value)
    else:
        setattr(script, name, value)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_transcript(path: Path, size: str, tmp_path: Path) -> None:
    script = read(path)
    if script.sizes and size not in script.sizes.split():
        size = script.sizes.split()[0]  # how the bytes are cut is what such a transcript is about
    config = SmtpConfig(**script.set)  # type: ignore[arg-type]
    core = FakeCore(tmp_path, config)
    machine = SmtpServer(config.max_size, max_discarded=100_000)
    connection = FakeConnection(machine, script.turns, size=SIZES[size])
    connection.peer_ip = "" if script.peer == "unix" else script.peer
    connection.via = script.via
    connection.loop.step = script.clock
    if script.tls:
        connection.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, binding=b"binding")
    closed = await run_session(core, connection, script.role)
    answers = [answer.split(b"\r\n")[:-1] for answer in connection.answers]
    if closed:
        answers[-1].append(b"(closed)")
    assert answers == script.expected
    assert connection.unheard == 0
    taken = [
        b"<%b> %b %b"
        % (
            str(one.envelope.sender or "").encode(),
            ",".join(str(recipient.address) for recipient in one.envelope.recipients).encode(),
            one.without_trace,
        )
        for one in core.intake.taken
    ]
    assert taken == script.messages
