"""The plugin "network": by the same door as any other, its settings, its command, its lines in the status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from click.testing import CliRunner

from appliance.cli import main
from appliance.dispatch import Dispatch
from appliance.loading import load, register
from hw import plugin
from hw.command import network
from hw.health import lines, pattern
from hw.mailside import SOCKET_VARIABLE
from hw.messages import Identify, NicState, Note, Refused, Renew, State, Storage, Vitals
from tests.hw.fake_hw import MODEL, WARNING, FakeHw, listening, state


def test_it_passes_the_checks_of_every_plugin() -> None:
    manager, problems = load([])
    assert problems == []
    register(manager, "network", plugin)
    dispatch = Dispatch(manager)
    assert [section.name for _, section in dispatch.gather("settings")] == ["network"]
    assert [command.name for _, command in dispatch.gather("commands")] == ["network"]


def test_a_start_without_palomar_hw_is_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "hw.sock"))
    (tmp_path / "p.toml").write_text(
        'plugins = ["mda", "network"]\n[network]\nping = false\n[store]\nreserve_mib = 0\n'
    )
    with CliRunner().isolation() as (out, err, _):
        assert main(["--config", str(tmp_path / "p.toml"), "check"]) == 0, err.getvalue()
        assert b"no problems" in out.getvalue()
    with CliRunner().isolation() as (_, err, _):
        assert main(["--config", str(tmp_path / "p.toml"), "network"]) == 1
        assert b"Start palomar-hw" in err.getvalue()


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHw]:
    """palomar-hw in a thread: the command works without a loop."""
    path = tmp_path / "hw.sock"
    monkeypatch.setenv(SOCKET_VARIABLE, str(path))
    fakes: list[FakeHw] = []
    started, stop = Event(), Event()

    async def serve() -> None:
        async with listening(path, state()) as fake:
            fakes.append(fake)
            started.set()
            while not stop.is_set():
                await asyncio.sleep(0.005)

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(5)
    yield fakes[0]
    stop.set()
    thread.join()


def test_everything_in_words(hw: FakeHw) -> None:
    done = CliRunner().invoke(network, [])
    assert done.exit_code == 0, done.output
    for words in (MODEL, "192.0.2.5/24 by DHCP", "eth0 by 192.0.2.1, metric 100: in use", "palomar.local", "SD card"):
        assert words in done.output


def test_json_is_the_whole_state(hw: FakeHw) -> None:
    found = json.loads(CliRunner().invoke(network, ["--json"]).output)
    assert found["uplinks"][0]["gateway"] == "192.0.2.1"
    assert found["time_state"] == "synced"


def test_renew_and_identify_are_passed_on(hw: FakeHw) -> None:
    assert CliRunner().invoke(network, ["renew", "eth0"]).exit_code == 0
    assert Renew(nic="eth0") in hw.heard
    assert CliRunner().invoke(network, ["identify", "--seconds", "5"]).exit_code == 0
    assert Identify(seconds=5) in hw.heard
    done = CliRunner().invoke(network, ["renew", "eth7"])
    assert "no interface 'eth7'" in str(done.exception)
    assert done.exception.remedy == "There are: eth0."  # type: ignore[union-attr]


def test_a_refusal_is_an_error(hw: FakeHw) -> None:
    hw.greeting = Refused(reason="too many clients")
    assert "too many clients" in str(CliRunner().invoke(network, []).exception)


# ── words and patterns ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("facts", "mail", "shown"),
    [
        ({"settled": False}, False, "setup"),
        ({}, True, "healthy"),
        ({}, False, "degraded"),
        ({"uplinks": ()}, True, "degraded"),
        ({"notes": (WARNING,)}, True, "degraded"),
        ({"notes": (Note(source="x", level="info", text="y"),)}, True, "healthy"),
    ],
)
def test_what_the_led_shows(facts: dict[str, object], mail: bool, shown: str) -> None:
    assert pattern(state(**facts), mail_is_well=mail) == shown


@pytest.mark.parametrize(
    ("facts", "label", "words", "level"),
    [
        ({"uplinks": ()}, "Way out", "none: no interface has a router", "warning"),
        ({"dns": ()}, "DNS", "no resolver is known", "warning"),
        ({"time_state": "unset"}, "Time", "nothing expires", "warning"),
        ({"ntp": ("192.0.2.1",)}, "Time", "asks 192.0.2.1", "info"),
        ({"storage": Storage(kind="emmc", life_percent_used=30)}, "Storage", "30 % of its life used", "info"),
        ({"storage": Storage(read_only=True)}, "Storage", "READ-ONLY", "error"),
        ({"vitals": Vitals(known=True, undervoltage=True)}, "Board", "under-voltage now", "info"),
        ({"vitals": Vitals(temperature_c=51.2)}, "Board", "51 °C, power supply not told by this kernel", "info"),
        (
            {"nics": (NicState(name="wlan0", kind="wifi", words="Wi-Fi", ssid="Office", signal_dbm=-61),)},
            "wlan0",
            "Wi-Fi, Office at -61 dBm; no address",
            "info",
        ),
    ],
)
def test_words(facts: dict[str, object], label: str, words: str, level: str) -> None:
    found = [(value, how) for name, value, how in lines(state(**facts)) if name == label]
    assert words in found[0][0]
    assert found[0][1] == level


def test_a_state_of_nothing_has_words_too() -> None:
    assert len(list(lines(State(board=state().board)))) >= 4
