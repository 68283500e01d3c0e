"""The three plugins of docs/policy.md, as they stand there, in a real dialogue of the SMTP role."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from appliance import loading
from appliance.config import CORE_SECTIONS, Section
from appliance.dispatch import Dispatch
from appliance.document import Document
from appliance.errors import ConfigError
from appliance.mail.session import TlsInfo
from appliance.settings import settings_from
from plugins.mda.config import MdaConfig
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import SmtpServer
from plugins.smtp.session import SmtpSession
from tests.appliance.office import Office, office
from tests.plugins.door.house import Outside
from tests.plugins.smtp.fake import FakeAuth, FakeConnection, Turn, plain

PAGE = (Path(__file__).parent.parent / "docs" / "policy.md").read_text()
SOURCES = dict(re.findall(r"`plugins\.d/(\w+)\.py`.*?```python\n(.*?)```", PAGE, re.DOTALL))
NAMES = ("helo_guard", "office_hours", "policy_service")
ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
HELLO, MAIL, RCPT = (
    b"EHLO mx.sender.test\r\n",
    b"MAIL FROM:<a@sender.test> SIZE=77\r\n",
    b"RCPT TO:<ana@palomar.test>\r\n",
)
BIG = b"Subject: plans\r\n\r\n" + b"x" * 70 + b"\r\n" + b"0123456789\r\n" * 120_000
NOON = datetime(2036, 11, 25, 12, 30).astimezone()  # a Tuesday


@contextlib.asynccontextmanager
async def running(folder: Path, name: str, toml: str = "") -> AsyncIterator[Office]:
    """An office with one of the page's plugins, loaded from a file as an administrator would."""
    plugins = folder / "plugins.d"
    plugins.mkdir()
    (plugins / f"{name}.py").write_text(SOURCES[name])
    manager, problems = loading.load([name], plugins)
    assert problems == []
    own = [section for _, section in Dispatch(manager).gather("settings")]
    sections = [*CORE_SECTIONS, Section("mda", MdaConfig), Section("smtp", SmtpConfig), *own]
    text = f'hostname = "mail.palomar.test"\ndomains = ["palomar.test"]\ndata = "{folder}"\n{toml}'
    settings = settings_from(Document(tomllib.loads(text), folder / "palomar.toml", {}), sections)
    async with office(folder, (name, manager.get_plugin(name)), ("outside", Outside())) as made:
        made.core.settings = settings
        made.core.auth = FakeAuth()  # type: ignore[assignment]
        yield made


async def talk(here: Office, *bursts: bytes, role: str = "mx") -> list[str]:
    """The last line of the answers to each burst, the greeting's first; whoever submits logs in first."""
    turns = [Turn(burst) for burst in bursts]
    connection = FakeConnection(SmtpServer(10_000_000), turns)
    if role == "submission":
        connection.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
    with contextlib.suppress(Exception):
        await SmtpSession(here.core, connection, role).run()  # type: ignore[arg-type]
    return [answer.decode().splitlines()[-1] for answer in connection.answers]


def test_the_page_has_three_plugins() -> None:
    assert tuple(SOURCES) == NAMES


# ── refuse by HELO ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("mx.sender.test", "250 "),
        ("localhost", "550 5.7.1 Say HELO with the name of your server"),
        ("pc3.office.LAN", "550 5.7.1 Say HELO with the name of your server"),
        ("[192.0.2.7]", "250 "),
        ("FRIEND", "550 5.7.1 Say HELO with the name of your server"),
        ("Mail.Palomar.Test", "550 5.7.1 That is our name, not yours"),
    ],
)
async def test_helo_guard(tmp_path: Path, name: str, answer: str) -> None:
    async with running(tmp_path, "helo_guard") as here:
        said = await talk(here, f"EHLO {name}\r\n".encode())
        assert said[1].startswith(answer)
        assert (await talk(here, f"EHLO {name}\r\n".encode(), role="submission"))[1].startswith("250 ")


async def test_helo_guard_with_settings_of_ones_own(tmp_path: Path) -> None:
    async with running(tmp_path, "helo_guard", "[helo_guard]\nrefuse = ['ylmf-.*']") as here:
        assert (await talk(here, b"HELO ylmf-pc\r\nHELO localhost\r\n"))[1].startswith("250 ")
        assert (await talk(here, b"HELO ylmf-pc\r\n"))[1].startswith("550 ")


async def test_helo_guard_tells_of_a_wrong_expression(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[helo_guard\.refuse\[0\]\] '\(' is no regular expression"):
        async with running(tmp_path, "helo_guard", "[helo_guard]\nrefuse = ['(']"):
            raise AssertionError


# ── big mails wait for the evening ───────────────────────────────────────────────────────────────────────────────


async def submit(here: Office, text: bytes, to: str) -> str:
    login = f"AUTH PLAIN {plain(ANA, 'secret')}\r\n".encode()
    mail = f"MAIL FROM:<{ANA}>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode()
    return (await talk(here, b"EHLO laptop\r\n", login, mail, text + b".\r\n", role="submission"))[-1]


async def waiting(here: Office) -> dict[str, int]:
    rows = await here.store.read(lambda db: db.execute("SELECT address, next_at FROM queue_entry").fetchall())
    return dict(rows)


async def test_office_hours(tmp_path: Path) -> None:
    evening = int(NOON.replace(hour=18, minute=0).timestamp())
    toml = "[office_hours]\nsize_mib = 1\n[smtp]\nmx = []"
    async with running(tmp_path, "office_hours", toml) as here:
        for hour, to in ((12, "noon"), (7, "early"), (20, "late")):
            here.core.now = lambda hour=hour: NOON.replace(hour=hour).timestamp()  # type: ignore[misc]
            assert (await submit(here, BIG, f"{to}@outside.test")).startswith("250 2.0.0")
        here.core.now = NOON.timestamp
        assert (await submit(here, b"Subject: small\r\n\r\nx\r\n", "small@outside.test")).startswith("250 2.0.0")
        assert (await submit(here, BIG, LUIS)).startswith("250 2.0.0")
        here.core.now = NOON.replace(day=29).timestamp  # a Saturday
        assert (await submit(here, BIG, "weekend@outside.test")).startswith("250 2.0.0")
        here.core.now, here.core.time_state = NOON.timestamp, "unset"
        assert (await submit(here, BIG, "nobody-knows-when@outside.test")).startswith("250 2.0.0")
        found = await waiting(here)
        assert len(await here.inbox(LUIS)) == 1
    assert {to.partition("@")[0] for to, at in found.items() if at == evening} == {"noon"}
    assert set(found) == {
        f"{to}@outside.test" for to in ("noon", "early", "late", "small", "weekend", "nobody-knows-when")
    }


# ── ask a policy service ─────────────────────────────────────────────────────────────────────────────────────────


class Service(http.server.ThreadingHTTPServer):
    """Answers each question by what a test has put in `answer`, and keeps what it was asked."""

    daemon_threads = True
    answer: tuple[int, bytes] = (200, b"{}")
    slow = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.go_on = threading.Event()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        service = self.server
        assert isinstance(service, Service)
        service.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if service.slow:
            service.go_on.wait(30)
        status, body = service.answer
        with contextlib.suppress(OSError):  # the client may have given up
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.go_on.set()
        made.shutdown()
        thread.join()


def at(service: Service, more: str = "") -> str:
    return f"[policy_service]\nport = {service.server_port}\n{more}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"{}", "250 2.1.5"),
        (b'{"action": "accept"}', "250 2.1.5"),
        (b'{"action": "refuse", "text": "Not\\r\\n250 for you"}', "550 5.7.1 Not 250 for you"),
        (b'{"action": "defer"}', "450 4.7.1 Refused by local policy"),
    ],
)
async def test_policy_service(tmp_path: Path, service: Service, answer: bytes, said: str) -> None:
    service.answer = (200, answer)
    async with running(tmp_path, "policy_service", at(service)) as here:
        assert (await talk(here, HELLO, MAIL, RCPT))[-1].startswith(said)
    assert service.asked == [
        {
            "role": "mx", "client_address": "192.0.2.7", "helo_name": "mx.sender.test", "login": "",
            "sender": "a@sender.test", "recipient": ANA, "size": 77,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "answer", [(500, b"{}"), (200, b"no json"), (200, b"[]"), (200, b'{"text": "' + b"x" * 5000 + b'"}')]
)
@pytest.mark.parametrize(("without", "code"), [("accept", "250"), ("defer", "451")])
async def test_a_policy_service_that_answers_nonsense(
    tmp_path: Path, service: Service, answer: tuple[int, bytes], without: str, code: str
) -> None:
    service.answer = answer
    async with running(tmp_path, "policy_service", at(service, f'without = "{without}"')) as here:
        assert [(await talk(here, HELLO, MAIL, RCPT))[-1][:3] for _ in range(2)] == [code, code]
    assert len(service.asked) == 1  # it gets a rest


async def test_a_policy_service_that_hangs_or_is_not_there(tmp_path: Path, service: Service) -> None:
    service.slow = True
    async with running(tmp_path, "policy_service", at(service, 'timeout = 0.1\nwithout = "defer"')) as here:
        assert (await talk(here, HELLO, MAIL, RCPT))[-1].startswith("451 4.7.1 Local policy cannot be asked now")
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    async with running(nowhere, "policy_service", "[policy_service]\nport = 1") as here:
        assert (await talk(here, HELLO, MAIL, RCPT))[-1].startswith("250 2.1.5")
