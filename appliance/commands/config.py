"""`palomar config`: what is in force, and the reference of all settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from appliance import loading
from appliance.app import SECTIONS
from appliance.commands.context import Palomar
from appliance.commands.terminal import Column, json_option, print_json, show
from appliance.config import Bind, Section
from appliance.dispatch import Dispatch
from appliance.document import dotted
from appliance.errors import ConfigError, Problem
from appliance.reference import settings_document, toml
from appliance.settings import secret_keys

HIDDEN = "(secret)"
COLUMNS = (
    Column("section", "Section"),
    Column("setting", "Setting"),
    Column("default", "", lambda default: "default" if default else ""),
    Column("value", "Value", toml),  # the last, since some are long
)


@click.command()
@click.option("--document", is_flag=True, help="Print the reference of every setting in Markdown instead.")
@json_option
@click.pass_obj
def config(palomar: Palomar, document: bool, as_json: bool) -> None:
    """Show every setting that is in force; secrets stay hidden."""
    if document:
        click.echo(settings_document(all_sections()), nl=False)
        return
    try:
        settings = palomar.loaded.settings
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": str(palomar.path), "problems": [dataclasses.asdict(one) for one in error.problems]})
        raise click.exceptions.Exit(2) from None
    rows = [
        _row(section.name, field, getattr(settings[section.cls], field.name))
        for section in settings.sections
        for field in dataclasses.fields(section.cls)
    ]
    if as_json:
        secrets = [dotted(*key) for key in secret_keys(settings)]
        print_json({"file": str(palomar.path), "settings": rows, "secrets": secrets})
    else:
        show(rows, COLUMNS, as_json=False)


def all_sections() -> list[Section]:
    """The sections of the core and of every plugin that comes with it. Raises ConfigError if one cannot be loaded."""
    manager, broken = loading.load(loading.own_names())
    if broken:
        raise ConfigError(
            [Problem("plugins", f"plugin {name!r} {text}.", "Correct the plugin.") for name, text in broken]
        )
    return [*SECTIONS, *(section for _, section in Dispatch(manager).gather("settings"))]


def _row(section: str, field: dataclasses.Field[Any], value: Any) -> dict[str, Any]:
    standard = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    secret = field.metadata.get("secret") and value
    shown = HIDDEN if secret else _plain(value)
    return {"section": section, "setting": field.name, "value": shown, "default": value == standard}


def _plain(value: Any) -> Any:
    """The value in the words of JSON and TOML; secrets inside nested tables stay hidden too."""
    if isinstance(value, (Path, Bind)):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {row["setting"]: row["value"] for row in _rows(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _rows(table: Any) -> list[dict[str, Any]]:
    return [_row("", field, getattr(table, field.name)) for field in dataclasses.fields(table)]
