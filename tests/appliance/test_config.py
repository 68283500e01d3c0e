"""Configuration: every problem at once, each with file, line, setting and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import CORE_SECTIONS, Bind, CoreConfig, Section, Settings, StoreConfig, number, setting, within
from appliance.document import Document, dotted, key_lines, key_of
from appliance.errors import ConfigError, Problem
from appliance.settings import core_settings, read_settings, settings_from


@dataclass(frozen=True, kw_only=True, slots=True)
class HostConfig:
    host: str = setting("", "Name.")
    port: int = setting(25, "Port.")

    def problems(self) -> Iterator[Problem]:
        if not self.host:
            yield Problem("host", "must be named.", "Name it.")
        yield from within(self, 1, 65_535, "port")


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """[demo]"""

    listen: tuple[Bind, ...] = setting((), "Addresses.")
    timeout: float = setting(5.0, "Seconds.")
    mode: Literal["fast", "slow"] = setting("fast", "Speed.")
    file: Path | None = setting(None, "A file.")
    hosts: tuple[HostConfig, ...] = setting((), "Hosts.")
    names: dict[str, str] = setting({}, "Names.")
    enabled: bool = setting(True, "On?")

    def problems(self) -> Iterator[Problem]:
        yield from within(self, 1, 60, "timeout", unit="s")
        for place, host in enumerate(self.hosts):
            if host.host == "twice":
                yield Problem(dotted("hosts", place, "host"), "is there twice.", "Take one out.")
        for name, text in self.names.items():
            if not text:
                yield Problem(dotted("names", name), "is empty.", "Fill it.")


@dataclass(frozen=True, kw_only=True, slots=True)
class BareConfig:
    """[bare]: of a plugin that keeps to no rule."""

    needed: int
    count: int = setting(1, "How many.")

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count below zero")


HOW = "Write host:port, [ipv6]:port, :port or unix:/path"
SECTIONS = [*CORE_SECTIONS, Section("demo", DemoConfig), Section("demo.inner", StoreConfig)]


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "palomar.toml"
    path.write_text(text)
    return settings_from(Document.read(path), SECTIONS)


def problems(tmp_path: Path, text: str, *more: Section) -> list[str]:
    path = tmp_path / "palomar.toml"
    path.write_text(text)
    try:
        _, found = read_settings(Document.read(path), [*SECTIONS, *more], known={"spam": "spam"})
    except ConfigError as error:
        found = error.problems
    assert all(problem.text.endswith(".") and problem.remedy for problem in found)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in found]


def test_an_empty_file_means_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, "")
    assert settings[CoreConfig].hostname == "palomar.local"
    assert settings[DemoConfig].hosts == ()


def test_values_of_every_type(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        hostname = "mail.example.org"
        relay_networks = ["192.168.1.0/24"]
        [demo]
        listen = ["127.0.0.1:25", "[::1]:25", ":26", "unix:/run/x"]
        timeout = 3
        file = "sub/x.pem"
        names = { a = "b" }
        [[demo.hosts]]
        host = "one"
        [[demo.hosts]]
        host = "two"
        port = 587
        [demo.inner]
        compress = false
        """,
    )
    demo = settings[DemoConfig]
    assert [str(bind) for bind in demo.listen] == ["127.0.0.1:25", "[::1]:25", ":26", "unix:/run/x"]
    assert demo.timeout == 3.0
    assert demo.file == tmp_path / "sub/x.pem"
    assert [(host.host, host.port) for host in demo.hosts] == [("one", 25), ("two", 587)]
    assert demo.names == {"a": "b"}
    assert settings[StoreConfig].compress is False


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = """hostname = 5
domians = ["example.org"]

[demo]
listen = ["127.0.0.1:99999"]
timeout = "long"
mode = "fsat"

[[demo.hosts]]
port = 26

[spam]
x = 1

[dmeo]
y = 2
"""
    assert problems(tmp_path, text) == [
        "palomar.toml:1: [hostname] must be text, not a whole number. Put it in quotes.",
        "palomar.toml:2: [domians] there is no such setting. Did you mean 'domains'?",
        f"palomar.toml:5: [demo.listen[0]] '127.0.0.1:99999' is no address. {HOW}.",
        "palomar.toml:6: [demo.timeout] must be a number, not text. Write it without quotes.",
        "palomar.toml:7: [demo.mode] must be one of 'fast', 'slow', not 'fsat'. Did you mean 'fast'?",
        "palomar.toml:9: [demo.hosts[0].host] must be named. Name it.",
        "palomar.toml:12: [spam] no loaded plugin has this table. Add 'spam' to plugins, or remove the table.",
        "palomar.toml:15: [dmeo] no loaded plugin has this table. Did you mean 'demo'?",
    ]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "::/8"])
def test_a_default_route_is_no_relay_network(tmp_path: Path, network: str) -> None:
    (problem,) = problems(tmp_path, f'relay_networks = ["{network}"]')
    assert problem.startswith(f"palomar.toml:1: [relay_networks] {network} would open the relay to the world. Name ")


def test_relay_networks_that_are_none_are_told_with_what_was_meant(tmp_path: Path) -> None:
    assert problems(tmp_path, 'relay_networks = ["10.0.0.1/8", "192.0.2.7", "foo"]') == [
        "palomar.toml:1: [relay_networks] 10.0.0.1/8 is an address inside a network. Write 10.0.0.0/8, or 10.0.0.1.",
        'palomar.toml:1: [relay_networks] \'foo\' is no network. Write it like "192.168.1.0/24" or "2001:db8:1::/48".',
    ]


def test_checks_are_made_in_spite_of_wrong_types_beside_them(tmp_path: Path) -> None:
    text = """hostname = "not a name"
domains = "a.test"
relay_networks = [5, "0.0.0.0/0"]
[demo]
listen = 5
timeout = 61
names."a.b" = ""
[[demo.hosts]]
host = 5
port = 0
[[demo.hosts]]
host = "twice"
[store]
reserve_mib = -1
trace_rows = 1
compress = 1
"""
    found = problems(tmp_path, text)
    assert [re.split(" must| is| of your", problem)[0] for problem in found] == [
        "palomar.toml:2: [domains]",
        "palomar.toml:3: [relay_networks[0]]",
        "palomar.toml:1: [hostname] 'not a name'",
        "palomar.toml:3: [relay_networks] 0.0.0.0/0 would open the relay to the world. Name the networks",
        "palomar.toml:16: [store.compress]",
        "palomar.toml:14: [store.reserve_mib]",
        "palomar.toml:15: [store.trace_rows]",
        "palomar.toml:5: [demo.listen]",
        "palomar.toml:9: [demo.hosts[0].host]",  # and not that it must be named
        "palomar.toml:10: [demo.hosts[0].port]",
        "palomar.toml:6: [demo.timeout]",
        "palomar.toml:12: [demo.hosts[1].host]",
        'palomar.toml:7: [demo.names."a.b"]',
    ]


def test_what_is_good_at_the_top_level_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('hostname = 5\nplugins = ["x", 5, "y"]\ndata = "kept"\n')
    core, found = core_settings(Document.read(path))
    assert [problem.setting for problem in found] == ["hostname", "plugins[1]"]
    assert core.plugins == ("x", "y")
    assert core.data == tmp_path / "kept"
    assert core.hostname == "palomar.local"


def test_tables_of_plugins_that_are_missing_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("[absent]\nx = 1\n[dmeo]\n")
    _, found = read_settings(Document.read(path), SECTIONS, passed_over={"absent"})
    assert [problem.setting for problem in found] == ["dmeo"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "[bare.needed] must be set. Add needed = …"),
        ("[bare]\nneeded = 'x'", "palomar.toml:2: [bare.needed] must be a whole number, not text. Write digits alone"),
        ("[bare]\nneeded = 1\ncount = -1", "palomar.toml:1: [bare] count below zero. Correct it"),
    ],
)
def test_sections_that_cannot_be_made(tmp_path: Path, text: str, told: str) -> None:
    (problem,) = problems(tmp_path, text, Section("bare", BareConfig))
    assert told in problem


@pytest.mark.parametrize("text", ['"\\u0000"', '"~nobody-of-that-name/x"'])
def test_paths_that_cannot_be(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, f"[demo]\nfile = {text}")
    assert problem.startswith("palomar.toml:2: [demo.file] ")


def test_numbers_are_told_as_they_are_written() -> None:
    assert [number(value) for value in (2**31 - 1, 1e7, 0.5, float("nan"))] == ["2147483647", "10000000", "0.5", "nan"]
    (problem,) = HostConfig(host="x", port=0).problems()
    assert (problem.text, problem.remedy) == ("must be within 1..65535, not 0.", "The default is 25.")
    (problem,) = DemoConfig(timeout=float("nan")).problems()
    assert problem.text == "must be within 1..60 s, not nan."


@pytest.mark.parametrize("key", [("smtp", "max_size"), ("a", 1, "b"), ("tls", "names", "*.x.test", "key"), ("a b", 0)])
def test_the_name_of_a_setting_leads_back_to_it(key: tuple[str | int, ...]) -> None:
    assert key_of(dotted(*key)) == key


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, 'hostname = "a"\nplugins = [\n')
    assert problem.startswith("palomar.toml:2: [file] no TOML")  # the end of the file
    (problem,) = problems(tmp_path, 'hostname = "a"\nplugins = @\n')
    assert problem.startswith("palomar.toml:2: [file] no TOML")


def test_nesting_without_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        Document.parse(f"a = {'[' * 30_000}", tmp_path / "palomar.toml")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*--config"):
        Document.read(tmp_path / "none.toml")


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'hostname = "\xff"')
    with pytest.raises(ConfigError, match=r"x\.toml:1: .*UTF-8"):
        Document.read(tmp_path / "x.toml")


def test_core_settings_pass_over_tables_of_plugins(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('plugins = ["x"]\n[anything]\nnot = "known"\n')
    core, found = core_settings(Document.read(path))
    assert core.plugins == ("x",)
    assert found == []


@pytest.mark.parametrize("text", ["25", "host:25", "1.2.3.4:0", "1.2.3.4:65536", "unix:", "[::1:25"])
def test_bad_binds(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Bind.parse(text)


def test_loopback_is_known() -> None:
    loopback = {text: Bind.parse(text).is_loopback for text in ("127.0.0.1:1", "[::1]:1", ":1", "0.0.0.0:1", "unix:/x")}
    assert loopback == {"127.0.0.1:1": True, "[::1]:1": True, ":1": False, "0.0.0.0:1": False, "unix:/x": True}


def test_lines_of_keys_after_values_over_several_lines() -> None:
    text = 'a = """\n[not]\nb = 1\n"""\nc = [\n  "]",\n]\n[t.u]\n"d e" = 1\n[[v]]\nf.g = 2\n[[v]]\nf.g = 3\n'
    assert dict(key_lines(text)) == {
        ("a",): 1,
        ("c",): 5,
        ("t", "u"): 8,
        ("t", "u", "d e"): 9,
        ("v", 0): 10,
        ("v", 0, "f", "g"): 11,
        ("v", 1): 12,
        ("v", 1, "f", "g"): 13,
    }


@given(st.text(alphabet="ab=[]\"'.#\n 1", max_size=60))
def test_finding_lines_never_fails_on_what_parses(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = list(key_lines(text))
    assert all(1 <= line <= text.count("\n") + 1 for _, line in lines)
