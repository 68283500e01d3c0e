"""SIGHUP: the whole file is taken over, or nothing of it."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.app import _open_all, _reload, load, opened
from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dns import DnsConfig
from appliance.listener import Listener
from plugins.pop3.config import Pop3Config
from tests.ports import free_port

ZONE = "example.net. IN MX 10 mail.example.net.\n"


def is_open(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


@dataclass
class Office:
    """An opened appliance with its listening sockets, and the file that it was made from."""

    folder: Path
    core: Core = field(init=False)
    listeners: list[Listener] = field(init=False)
    pop: int = field(default_factory=free_port)
    pops: int = field(default_factory=free_port)
    hostname: str = "old.test"
    top: str = ""
    more: str = ""

    @property
    def file(self) -> Path:
        return self.folder / "palomar.toml"

    def write(self) -> None:
        self.file.write_text(
            f'hostname = "{self.hostname}"\n{self.top or PLUGINS}\n'
            '[store]\nreserve_mib = 0\n[dns]\nzone_file = "zone"\n'
            f'[pop3]\nlisten = ["127.0.0.1:{self.pop}"]\nlisten_tls = ["127.0.0.1:{self.pops}"]\n{self.more}\n'
        )

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        (self.folder / "zone").write_text(ZONE)
        self.write()
        self.loaded = load(self.file)
        async with opened(self.loaded) as self.core:
            services = [service for _, service in self.core.dispatch.gather("services", core=self.core)]
            self.listeners = [service for service in services if isinstance(service, Listener)]
            _open_all(self.listeners)
            try:
                yield
            finally:
                for listener in self.listeners:
                    listener.close_sockets()

    def reload(self) -> bool:
        self.write()
        return _reload(self.core, self.loaded, self.listeners)

    @property
    def addresses(self) -> list[str]:
        return sorted(address for listener in self.listeners for address in listener.addresses)


PLUGINS = 'plugins = ["mda", "pop3"]'


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    made = Office(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    async with made.up():
        yield made
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_everything_is_taken_over_together(office: Office) -> None:
    before, office.pop, office.hostname = office.pop, free_port(), "new.test"
    (office.folder / "zone").write_text("other.test. IN MX 10 mail.other.test.\n")
    assert office.reload()
    assert office.core.settings[CoreConfig].hostname == "new.test"
    assert [host.name for host in await office.core.resolver.mx("other.test")] == ["mail.other.test"]
    assert is_open(office.pop)
    for listener in office.listeners:
        await listener.reload()
    assert not is_open(before)


@pytest.mark.parametrize("broken", ["zone", "port", "certificate", "setting", "toml"])
async def test_one_problem_keeps_all_as_it_was(office: Office, caplog: pytest.LogCaptureFixture, broken: str) -> None:
    settings, addresses = office.core.settings, office.addresses
    office.pop, office.hostname = free_port(), "new.test"
    (office.folder / "zone").write_text("other.test. IN MX 10 mail.other.test.\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        match broken:
            case "zone":
                (office.folder / "zone").unlink()
            case "port":
                office.pops = taken.getsockname()[1]
            case "certificate":
                office.more = '[tls]\ncertificate = "nope.pem"\nkey = "nope.key"'
            case "setting":
                office.more = "max_errors = 0\nmax_errorz = 1"
            case "toml":
                office.more = "["
        assert not office.reload()
    assert office.core.settings is settings
    assert office.addresses == addresses
    assert not is_open(office.pop)
    assert [host.name for host in await office.core.resolver.mx("example.net")] == ["mail.example.net"]
    told = [record for record in caplog.records if "not reloaded" in record.getMessage()]
    assert len(told) == {"certificate": 2, "setting": 2}.get(broken, 1)
    for record in told:
        assert f"not reloaded: {office.file}:" in record.getMessage()
        assert "\n" not in record.getMessage()
        assert record.exc_info is None


async def test_a_zone_that_goes_bad_at_the_last_moment(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at everything and the switch: the new sockets are closed again."""
    settings, office.pop = office.core.settings, free_port()
    reload = office.core.resolver.reload

    def late(config: DnsConfig) -> None:
        (office.folder / "zone").unlink()
        reload(config)

    monkeypatch.setattr(office.core.resolver, "reload", late)
    assert not office.reload()
    assert office.core.settings is settings
    assert not is_open(office.pop)


async def test_two_listeners_cannot_swap_their_ports(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.pop, office.pops = office.pops, office.pop
    assert not office.reload()
    assert caplog.text.count("Restart palomar: it listens there itself") == 2
    assert office.core.settings[Pop3Config].listen[0].port == office.pops


async def test_what_a_reload_cannot_change(
    office: Office, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    office.top = f'data = "elsewhere"\n{PLUGINS}'
    assert not office.reload()
    assert "[data] cannot change while palomar runs. Restart it." in caplog.text
    assert not (office.folder / "elsewhere").exists()
    office.top, office.more = 'plugins = ["mda", "pop3", "relay"]', "[relay]\nport = 26"
    assert office.reload()
    assert "that takes a restart" in capsys.readouterr().err  # the log goes where the settings send it
