from __future__ import annotations

import asyncio
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.log import LogConfig, configure, is_journal, session_id, trace_id


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    logging.getLogger("appliance.test").setLevel(logging.NOTSET)
    session_id.set("")
    trace_id.set("")


log = logging.getLogger("appliance.test")


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_context_and_extra_fields() -> None:
    stream = io.StringIO()
    configure(LogConfig(), stream=stream)
    session_id.set("ab-1")
    trace_id.set("t9")
    log.info("accepted %d recipients", 3, extra={"peer": "192.0.2.1", "odd": {1, 2}.__class__})
    [line] = lines(stream)
    assert str(line.pop("at")).endswith("Z")
    assert line == {
        "level": "info",
        "part": "appliance.test",
        "text": "accepted 3 recipients",
        "session": "ab-1",
        "trace": "t9",
        "peer": "192.0.2.1",
        "odd": "<class 'set'>",
    }


def test_a_traceback_stays_on_one_json_line() -> None:
    stream = io.StringIO()
    configure(LogConfig(format="json"), stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    [line] = lines(stream)
    assert "ValueError: broken" in str(line["traceback"])


async def test_each_task_has_its_own_session() -> None:
    stream = io.StringIO()
    configure(LogConfig(format="json"), stream=stream)

    async def serve(name: str) -> None:
        session_id.set(name)
        await asyncio.sleep(0)
        log.info("x")

    await asyncio.gather(serve("one"), serve("two"))
    assert [line["session"] for line in lines(stream)] == ["one", "two"]


def test_text_is_for_people_and_coloured_on_a_terminal_only() -> None:
    plain, terminal = io.StringIO(), Terminal()
    configure(LogConfig(format="text"), stream=plain)
    log.warning("disk is filling", extra={"free": 5})
    configure(LogConfig(), stream=terminal)
    log.warning("disk is filling", extra={"free": 5})
    assert plain.getvalue().partition(" ")[2] == "warning appliance.test: disk is filling  free=5\n"
    assert "\x1b[33mwarning\x1b[0m" in terminal.getvalue()
    assert len(terminal.getvalue().splitlines()) == 1


def test_bytes_from_the_wire_forge_no_line_and_drive_no_terminal() -> None:
    stream = Terminal()
    configure(LogConfig(format="text"), stream=stream)
    log.info("helo %s", "x\r\n2026 error forged\x1b[2J\x9b", extra={"from": "a\nb"})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in stream.getvalue()
    assert "\\x0d\\x0a" in stream.getvalue()
    assert "\\x9b" in stream.getvalue()


def test_levels_hold_as_a_whole_and_by_part() -> None:
    stream = io.StringIO()
    configure(LogConfig(level="warning", levels={"appliance.test": "debug"}), stream=stream)
    logging.getLogger("appliance.other").info("silent")
    log.debug("heard")
    assert [line["text"] for line in lines(stream)] == ["heard"]
    configure(LogConfig(level="error"), stream=stream)
    logging.getLogger("appliance.other").warning("silent")
    assert len(lines(stream)) == 1


def test_configuring_again_leaves_one_handler() -> None:
    for _ in range(3):
        configure(LogConfig(), stream=io.StringIO())
    assert len(logging.getLogger().handlers) == 1


def test_an_unknown_level_is_refused() -> None:
    [problem] = LogConfig(levels={"appliance": "loud", "plugins.smtp": "debug"}).problems()
    assert problem.setting == "levels.appliance"
    assert "'loud'" in problem.text


def test_the_journal_gets_priorities_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert is_journal(stream)
        assert not is_journal(io.StringIO())
        configure(LogConfig(format="text"), stream=stream)
        for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logging.getLogger("x").log(level, "word")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<2>"]
    assert all(line.endswith("x: word") for line in lines)
    with (tmp_path / "other").open("w") as other:
        assert not is_journal(other)
