"""The documents keep up with the code: generated references, hooks, links, and the plugin guide's examples."""

from __future__ import annotations

import re
import tomllib
import types
from pathlib import Path

import pytest

from appliance import demo, hookspecs, loading
from appliance.app import load
from appliance.cli import COMMANDS
from appliance.commands.config import all_sections
from appliance.config import CoreConfig
from appliance.dispatch import Dispatch
from appliance.document import Document
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.session import Session
from appliance.preflight import binds
from appliance.reference import hooks, hooks_document, settings, settings_document
from appliance.settings import read_settings, settings_from

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOOKS = [hook.name for hook in hooks()]
TESTS = "\n".join(
    path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.resolve() != Path(__file__).resolve()
)
EXAMPLE_NAMES = ("printer_guard", "shouting", "tickets")
EXAMPLES = re.findall(r"```python\n(.*?)```", (DOCS / "plugins.md").read_text(), re.DOTALL)


def test_the_settings_reference_is_not_stale() -> None:
    assert (DOCS / "settings.md").read_text() == settings_document(all_sections()), "type: make docs"


def test_the_hooks_reference_is_not_stale() -> None:
    assert (DOCS / "hooks.md").read_text() == hooks_document(), "type: make docs"


def test_every_setting_says_what_it_is_for() -> None:
    silent = [f"{one.section}.{one.name}" for one in settings(all_sections()) if not one.help.endswith((".", "?"))]
    assert silent == []


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_explained_mentioned_and_tested(name: str) -> None:
    assert getattr(hookspecs, name).__doc__
    assert f"## {name}\n" in (DOCS / "hooks.md").read_text()
    assert re.search(rf"\b{name}\b", TESTS), f"no test mentions the hook {name}"


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("plugins/*/README.md")]), ids=str
)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_the_configuration_in_the_operations_page_is_right() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (DOCS / "operations.md").read_text(), re.DOTALL)
    settings, problems = read_settings(Document(tomllib.loads(block), Path("/palomar.toml"), {}), all_sections())
    assert problems == []
    assert settings[CoreConfig].domains == ("example.org",)


def test_the_demo_is_right_and_stays_on_the_loopback() -> None:
    loaded = load(ROOT / "demo" / "palomar.toml")
    assert demo.reachable(loaded.settings) == ""
    ports = {bind.port for _, bind in binds(loaded.settings)}
    assert ports == {2525, 2587, 2465, 2143, 2993, 2110, 2995}
    assert loaded.settings[CoreConfig].data.resolve() == ROOT / "data"


def test_every_command_is_in_the_changelog_or_the_operations_page() -> None:
    text = (DOCS / "operations.md").read_text() + (ROOT / "CHANGELOG.md").read_text()
    assert [name for name in COMMANDS if f"`{name}`" not in text and f"palomar {name}" not in text] == []


def test_every_role_has_a_readme_with_a_checklist() -> None:
    for name in loading.builtin_names():
        text = ROOT.joinpath("plugins", *name.split("."), "README.md").read_text()
        assert re.search(r"\b(done|todo|exempt)\b", text, re.IGNORECASE), name


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A folder with the guide's examples as single files, named as the guide names them."""
    for name, source in zip(EXAMPLE_NAMES, EXAMPLES, strict=True):
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


def test_the_guide_s_examples_load(examples: Path) -> None:
    """Each passes the checks that a real plugin passes, with its settings and its objects."""
    manager, problems = loading.load(EXAMPLE_NAMES, examples)
    assert problems == []
    dispatch = Dispatch(manager)
    sections = [section for _, section in dispatch.gather("settings")]
    assert {section.name for section in sections} == {"shouting", "tickets"}
    core = types.SimpleNamespace(settings=settings_from(Document({}, Path("-"), {}), sections))
    assert [one.name for _, one in dispatch.gather("transports", core=core)] == ["tickets"]
    assert [one.name for _, one in dispatch.gather("services", core=core)] == ["tickets-report"]


async def test_the_guide_s_examples_do_what_it_says(examples: Path) -> None:
    manager, _ = loading.load(EXAMPLE_NAMES, examples)
    dispatch = Dispatch(manager)
    sections = [section for _, section in dispatch.gather("settings")]
    dispatch.attach(types.SimpleNamespace(settings=settings_from(Document({}, Path("-"), {}), sections)))
    session, envelope = Session("s1", "mx", peer_ip="192.0.2.7"), Envelope(None)
    printer, ticket = (Recipient(Address.parse(one)) for one in ("printer@palomar.test", "x@tickets.example"))
    refusal = await dispatch.smtp_recipient(session=session, envelope=envelope, recipient=printer)
    assert refusal is not None
    assert refusal.code == 550
    assert await dispatch.smtp_recipient(session=session, envelope=envelope, recipient=ticket) is None
    assert await dispatch.own_recipient(recipient=ticket) == "relay"
    route = await dispatch.route_recipient(session=session, envelope=envelope, recipient=ticket)
    assert route == Route("tickets", "tickets.example")
    loud = Message.parse(b"Subject: BUY THIS BOAT\r\n\r\n")
    findings = await dispatch.score_message(session=session, envelope=envelope, message=loud, findings=())
    assert [(one.result, one.score) for one in findings] == [("loud", 2.0)]


SERVERS = re.findall(r"```toml\n(.*?)```", (DOCS / "servers.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("block", SERVERS, ids=lambda block: block.split("\n", 1)[0])
def test_the_configurations_of_several_servers_are_right(block: str) -> None:
    settings, problems = read_settings(Document(tomllib.loads(block), Path("/palomar.toml"), {}), all_sections())
    assert problems == []
    assert set(settings[CoreConfig].plugins) <= set(loading.known_plugins())
