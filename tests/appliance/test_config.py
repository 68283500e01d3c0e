"""Configuration: every problem at once, each with file, line, setting and remedy."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import (
    CORE_SECTIONS,
    Bind,
    CoreConfig,
    Document,
    Section,
    Settings,
    StoreConfig,
    _key_lines,
    core_settings,
    setting,
    settings_from,
)
from appliance.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class HostConfig:
    host: str = setting("", "Name.")
    port: int = setting(25, "Port.")

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host must be named")


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


HOW = "write host:port, [ipv6]:port, :port or unix:/path"
SECTIONS = [*CORE_SECTIONS, Section("demo", DemoConfig), Section("demo.inner", StoreConfig)]


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "palomar.toml"
    path.write_text(text)
    return settings_from(Document.read(path), SECTIONS, known={"spam": "spam"})


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


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
        f"palomar.toml:5: [demo.listen[0]] '127.0.0.1:99999' is no address: {HOW}.",
        "palomar.toml:6: [demo.timeout] must be a number, not text. Write it without quotes.",
        "palomar.toml:7: [demo.mode] must be one of 'fast', 'slow', not 'fsat'.",
        "palomar.toml:9: [demo.hosts[0].host] host must be named",
        "palomar.toml:12: [spam] no loaded plugin has this table. Add 'spam' to plugins, or remove the table.",
        "palomar.toml:15: [dmeo] no loaded plugin has this table. Did you mean 'demo'?",
    ]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "::/8"])
def test_a_default_route_is_no_relay_network(tmp_path: Path, network: str) -> None:
    assert problems(tmp_path, f'relay_networks = ["{network}"]') == [
        f"palomar.toml:1: [relay_networks] relay_networks: {network} would open the relay to the world"
    ]


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, 'hostname = "a"\nplugins = [\n')
    assert "no TOML" in problem
    (problem,) = problems(tmp_path, 'hostname = "a"\nplugins = @\n')
    assert problem.startswith("palomar.toml:2: [file] no TOML")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*--config"):
        Document.read(tmp_path / "none.toml")


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'hostname = "\xff"')
    with pytest.raises(ConfigError, match="UTF-8"):
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
    assert dict(_key_lines(text)) == {
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
    lines = list(_key_lines(text))
    assert all(1 <= line <= text.count("\n") + 1 for _, line in lines)
