"""Tables, JSON and words."""

from __future__ import annotations

import json

import click
import pytest

from appliance.commands.terminal import (
    SIZE,
    Column,
    clean,
    limit_words,
    list_words,
    show,
    show_fields,
    size_words,
    span_words,
    time_words,
)

COLUMNS = (Column("name", "Account"), Column("size", "Used", size_words, right=True))
ROWS = [{"name": "ana", "size": 2048, "more": [1]}, {"name": "\x1b[31mluis\r\n", "size": 5}]


def test_a_plain_table_is_aligned_and_free_of_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, COLUMNS, as_json=False)
    assert capsys.readouterr().out == ("Account         Used\nana          2.0 KiB\n\ufffd[31mluis        5 B\n")


def test_json_has_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_nothing_is_said_on_standard_error_and_is_an_empty_array_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    show([], COLUMNS, as_json=False, empty="Nothing waits")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Nothing waits.\n")
    show([], COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_a_pretty_table_shows_markup_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.commands.terminal.is_pretty", lambda: True)
    show([{"name": "[red]x[/red]", "size": 1}], COLUMNS, as_json=False)
    assert "[red]x[/red]" in capsys.readouterr().out


def test_fields(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields(ROWS[0], COLUMNS, as_json=False)
    assert capsys.readouterr().out == "Account  ana\nUsed     2.0 KiB\n"
    show_fields(ROWS[0], COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS[0]


@pytest.mark.parametrize(
    ("octets", "words"),
    [(0, "0 B"), (1023, "1023 B"), (4200, "4.1 KiB"), (150 << 20, "150 MiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes(octets: int, words: str) -> None:
    assert size_words(octets) == words


def test_other_words() -> None:
    assert limit_words(0) == "-"
    assert time_words(0) == "-"
    assert len(time_words(1795502410)) == len("2026-11-24 06:40:10")
    assert [span_words(s) for s in (0, 59, 3600, 90061, -5)] == ["0 s", "59 s", "1 h", "1 d 1 h", "0 s"]
    assert list_words([]) == "-"
    assert clean("a\tb\x00") == "a b\ufffd"


@pytest.mark.parametrize(
    ("text", "octets"), [("0", 0), ("10", 10), ("500M", 500 << 20), ("2g", 2 << 30), ("1KiB", 1024), ("3TB", 3 << 40)]
)
def test_sizes_on_the_command_line(text: str, octets: int) -> None:
    assert SIZE.convert(text, None, None) == octets


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "ten", "1X", "²M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no size"):
        SIZE.convert(text, None, None)
