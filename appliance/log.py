"""Structured logs on standard error: JSON lines for machines, text for people. Settings: [log].

Every line carries the session and the trace id it belongs to, from context variables. Message bodies and passwords
are never logged; that is the caller's duty, and `extra` fields are the only structured data.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO, Any, Literal

import msgspec

from appliance.config import setting
from appliance.document import dotted
from appliance.errors import Problem

session_id: ContextVar[str] = ContextVar("session_id", default="")
"""The session (one connection) that the current task serves."""

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The message that the current task works on."""

LEVELS = ("debug", "info", "warning", "error")
COLOURS = {"DEBUG": "\x1b[2m", "INFO": "", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}
PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Those of syslog (RFC 5424 section 6.2.1)."""
# What logging itself puts on a record; everything else came through `extra`.
_OWN = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """[log]"""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Lowest level that is written.")
    format: Literal["auto", "text", "json"] = setting(
        "auto", "How lines look; `auto` is text on a terminal and JSON elsewhere."
    )
    levels: dict[str, str] = setting({}, 'Levels of single parts, such as `"plugins.smtp" = "debug"`.')

    def problems(self) -> Iterator[Problem]:
        """Levels that are none."""
        for name, level in self.levels.items():
            if level not in LEVELS:
                text = f"must be one of {', '.join(LEVELS)}, not {level!r}."
                yield Problem(dotted("levels", name), text, 'Write it like "debug".')


def configure(config: LogConfig, *, stream: IO[str] | None = None) -> None:
    """Send all logs of the process to `stream` (standard error if None). Can be called again after a reload."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    as_json = config.format == "json" or (config.format == "auto" and not terminal)
    handler = logging.StreamHandler(stream)
    formatter = JsonFormatter() if as_json else TextFormatter(colours=terminal)
    handler.setFormatter(JournalFormatter(formatter) if is_journal(stream) else formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    for name, level in config.levels.items():
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: at, level, part, text, then session, trace, and what `extra` brought."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, Any] = {
            "at": _stamp(record.created),
            "level": record.levelname.lower(),
            "part": record.name,
            "text": record.getMessage(),
        }
        line.update(_context(record))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """Time, level, part and text for people, the rest as name=value."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; control characters from the wire cannot forge a second one or drive a terminal."""
        context = " ".join(f"{name}={value}" for name, value in _context(record).items())
        text = _printable(f"{record.getMessage()}{'  ' if context else ''}{context}")
        level = f"{record.levelname.lower():<7}"
        if self._colours and (colour := COLOURS.get(record.levelname)):
            level = f"{colour}{level}\x1b[0m"
        line = f"{_stamp(record.created)} {level} {record.name}: {text}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JournalFormatter(logging.Formatter):
    """The lines of another formatter with the journal's priority in front (sd-daemon(3)), which it takes off again."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; without a priority the journal would take all of them for information."""
        return f"<{PRIORITIES.get(record.levelname, 6)}>{self._formatter.format(record)}"


def is_journal(stream: IO[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream ends in the systemd journal, which says so by JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _context(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if session := session_id.get():
        fields["session"] = session
    if trace := trace_id.get():
        fields["trace"] = trace
    fields.update((name, value) for name, value in record.__dict__.items() if name not in _OWN)
    return fields


def _stamp(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def _printable(text: str) -> str:
    return text if text.isprintable() else text.translate(_CONTROLS)
