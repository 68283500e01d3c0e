"""What commands print: tables, JSON, colours and progress; plain and aligned without a terminal or without rich."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

LATEST = 1 << 35  # epoch seconds
GAP = "  "  # between the columns of a plain table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: which value of a row, under which title, in which words."""

    key: str
    title: str
    words: Callable[[Any], str] = str
    right: bool = False


def show(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, as_json: bool, empty: str = "Nothing"
) -> None:
    """Print rows as a table, or as one JSON array with all their values. `empty` is said when there are none."""
    rows = list(rows)
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(f"{empty}.", err=True)
    else:
        cells = [[clean(column.words(row[column.key])) for column in columns] for row in rows]
        if is_pretty():
            _rich_table(cells, columns)
        else:
            _plain_table(cells, columns)


def show_fields(row: Mapping[str, Any], fields: Sequence[Column], *, as_json: bool) -> None:
    """Print one thing, a line for each of its fields, or as one JSON object."""
    if as_json:
        print_json(row)
        return
    width = max(len(field.title) for field in fields)
    for field in fields:
        title = click.style(f"{field.title:{width}}", bold=True)
        click.echo(f"{title}{GAP}{clean(field.words(row[field.key]))}")


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def done(text: str) -> None:
    """Say that something was done."""
    click.echo(clean(text))


def fail(text: str, remedy: str = "") -> None:
    """Say on standard error what went wrong and what to do about it."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {clean(text)}", err=True)
    if remedy:
        click.echo(f"  {click.style('remedy:', fg='green')} {clean(remedy)}", err=True)


def is_pretty() -> bool:
    """Whether tables go to a terminal and rich is there to draw them."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and importlib.util.find_spec("rich") is not None


def clean(text: str) -> str:
    """The text without anything a terminal would obey. Subjects and replies are written by strangers."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text)


def _plain_table(cells: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    titles = [column.title for column in columns]
    widths = [max(map(len, rows)) for rows in zip(titles, *cells, strict=True)]
    for row in (titles, *cells):
        padded = [
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        click.echo(GAP.join(padded).rstrip())


def _rich_table(cells: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    from rich import box  # 20 ms that other commands can do without
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold cyan")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in cells:
        table.add_row(*[Text(text) for text in row])
    Console().print(table)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def size_words(octets: int) -> str:
    """`4.1 KiB`."""
    size = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def limit_words(octets: int) -> str:
    """A quota: 0 is none."""
    return size_words(octets) if octets else "-"


def time_words(at: float) -> str:
    """Epoch seconds as local date and time, `-` for 0; what no calendar holds as the number that it is."""
    if not at:
        return "-"
    if not 0 < at < LATEST:
        return str(at)
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span_words(seconds: float) -> str:
    """`3 h 20 min`."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0 s"


def yes_words(value: object) -> str:
    """`yes` or `-`."""
    return "yes" if value else "-"


def list_words(values: Iterable[str]) -> str:
    """Names with commas between them."""
    return ", ".join(values) or "-"


class SizeType(click.ParamType[int]):
    """A size on the command line: `500M`, `2GiB`, `0` for no limit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return octets."""
        if isinstance(value, int):
            return value
        text = str(value).strip().upper().removesuffix("IB").removesuffix("B")
        factor = 1024 ** ("KMGT".find(text[-1:]) + 1) if text[-1:] in tuple("KMGT") else 1
        digits = text[:-1] if factor > 1 else text
        if not digits.isascii() or not digits.isdigit():
            self.fail(f"{value!r} is no size; write 500M or 2G, or 0 for no limit", param, ctx)
        return int(digits) * factor


SIZE = SizeType()
