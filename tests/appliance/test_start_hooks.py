"""The hooks of the start: what a plugin brings is there in the opened appliance."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.app import load, opened
from appliance.errors import ConfigError, PluginError
from appliance.mail.session import Session

PLUGIN = '''
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.auth import Authenticated
from appliance.config import Section, setting
from appliance.hookspecs import hookimpl
from appliance.store import Migration


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestConfig:
    """[guest]"""

    greeting: str = setting("hello", "What to say.")


class Anonymous:
    name = "X-GUEST"

    def begin(self, session):
        return self

    async def step(self, data):
        return Authenticated("guest@palomar.test", "guest")


def m001_guests(db):
    """A guest book."""
    db.execute("CREATE TABLE guest_book (name TEXT)")


@hookimpl
def settings():
    return [Section("guest", GuestConfig)]


@hookimpl
def migrations():
    return [Migration("guest.m001_guests", m001_guests)]


@hookimpl
def sasl_mechanisms(core):
    return [Anonymous()]


@hookimpl
def web_pages(core):
    return [("/guests", core.settings[GuestConfig].greeting)]


@hookimpl
def smtp_extensions(core):
    return ["X-GUEST"]


@hookimpl
def status(core):
    return [("Guests", "none")]
'''


def configured(folder: Path, plugin: str = PLUGIN) -> Path:
    (folder / "guest.py").write_text(plugin)
    path = folder / "palomar.toml"
    path.write_text(
        'plugins = ["mda", "guest"]\nplugin_folder = "."\n[store]\nreserve_mib = 0\n[guest]\ngreeting = "hi"\n'
    )
    return path


async def test_what_a_plugin_brings_is_there(tmp_path: Path) -> None:
    loaded = load(configured(tmp_path))
    async with opened(loaded) as core:
        await core.store.write(lambda db: db.execute("INSERT INTO guest_book VALUES ('zoe')").rowcount)
        assert "X-GUEST" in core.auth.mechanisms(Session("s1", "imap"))
        assert core.dispatch.gather("web_pages", core=core) == [("guest", ("/guests", "hi"))]
        assert core.dispatch.gather("smtp_extensions", core=core) == [("guest", "X-GUEST")]
        assert core.dispatch.gather("status", core=core) == [("guest", ("Guests", "none"))]


async def test_a_migration_runs_once(tmp_path: Path) -> None:
    for count in (1, 2):
        async with opened(load(configured(tmp_path))) as core:
            await core.store.write(lambda db: db.execute("INSERT INTO guest_book VALUES ('zoe')").rowcount)
            rows = await core.store.read(lambda db: db.execute("SELECT * FROM guest_book").fetchall())
            assert len(rows) == count


@pytest.mark.parametrize("hook", ["migrations()", "sasl_mechanisms(core)"])
async def test_a_plugin_that_fails_at_the_start_stops_it_by_name(tmp_path: Path, hook: str) -> None:
    plugin = PLUGIN.replace(f"def {hook}:\n", f"def {hook}:\n    raise RuntimeError('oh')\n")
    with pytest.raises(PluginError, match="'guest' failed in"):
        async with opened(load(configured(tmp_path, plugin))):
            pytest.fail("it was opened")
    async with opened(load(configured(tmp_path))) as core:  # and the folder is free again
        assert core.store is not None


def test_settings_that_fail_are_an_error_of_the_configuration(tmp_path: Path) -> None:
    plugin = PLUGIN.replace("def settings():\n", "def settings():\n    raise RuntimeError('oh')\n")
    with pytest.raises(ConfigError, match="'guest': failed in settings"):
        load(configured(tmp_path, plugin))
