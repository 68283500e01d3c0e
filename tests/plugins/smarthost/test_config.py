"""Which mail a smart host takes, and which settings are refused with what words."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import Section
from appliance.document import Document
from appliance.errors import ConfigError
from appliance.mail.address import Address
from appliance.settings import settings_from
from appliance.smtpclient import Login
from plugins.smarthost.config import OAuthClient, SmartHost, SmarthostConfig

ANA = Address.parse("ana@office.test")


def host(**settings: object) -> SmartHost:
    return SmartHost(**{"host": "smtp.isp.test", **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selectors", "sender", "recipient", "taken"),
    [
        ({}, ANA, "a@b.test", True),
        ({}, None, "a@b.test", True),
        ({"senders": ("office.test",)}, ANA, "a@b.test", True),
        ({"senders": ("OFFICE.test",)}, ANA, "a@b.test", True),
        ({"senders": ("Ana@office.test",)}, ANA, "a@b.test", True),
        ({"senders": ("luis@office.test", "other.test")}, ANA, "a@b.test", False),
        ({"senders": ("office.test",)}, None, "a@b.test", False),
        ({"senders": ("*.test",)}, ANA, "a@b.test", True),
        ({"senders": ("*.office.test",)}, ANA, "a@b.test", False),
        ({"recipients": ("b.test",)}, ANA, "a@b.test", True),
        ({"recipients": ("b.test",)}, None, "a@b.test", True),
        ({"recipients": ("a@b.test",)}, ANA, "c@b.test", False),
        ({"senders": ("office.test",), "recipients": ("c.test",)}, ANA, "a@b.test", False),
    ],
)
def test_selectors(selectors: dict[str, object], sender: Address | None, recipient: str, taken: bool) -> None:
    assert host(**selectors).takes(sender, Address.parse(recipient)) is taken


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": ""}, "host must be set"),
        ({"host": "no name"}, "host 'no name' is no domain name"),
        ({"port": 0}, "port must be within 1..65535, not 0."),
        ({"senders": ("a@",)}, "senders 'a@' is neither an address nor a domain"),
        ({"recipients": ("*.",)}, "recipients"),
        ({"tls": "off", "port": 465}, "tls must not be off"),
        ({"tls": "off", "implicit_tls": True}, "tls must not be off"),
        ({"username": "ana"}, "password is missing"),
        ({"password": "x"}, "username is missing"),
        ({"username": "a", "password": "x", "password_file": Path("x")}, "password and password_file are both set"),
        ({"deliveries": 0}, "deliveries"),
    ],
)
def test_a_bad_host_is_refused(settings: dict[str, object], words: str) -> None:
    [problem] = host(**settings).problems()
    assert f"{problem.setting} {problem.text}".startswith(words)


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ([host(fallback="smtp.isp.test"), host()], ["hosts[0].fallback", "hosts[1]"]),
        ([host(fallback="b")], ["hosts[0].fallback no smart host is called 'b'. There are: smtp.isp.test."]),
        (
            [host(name="a", fallback="b"), host(name="b", fallback="a")],
            ["hosts[0].fallback the fallbacks of 'a' lead back to it.", "hosts[1].fallback the fallbacks of 'b'"],
        ),
        ([host(name="a", senders=("x.test",), fallback="b"), host(name="b", fallback="b")], ["hosts[1].fallback"]),
        ([host(name="a", fallback="b"), host(name="b", fallback="gone")], ["hosts[1].fallback no smart host"]),
        ([host(name="a"), host(name="b", senders=("office.test",))], ["hosts[1] 'b' would never be used: 'a' before"]),
    ],
)
def test_hosts_that_contradict_each_other_are_refused(hosts: list[SmartHost], words: list[str]) -> None:
    problems = SmarthostConfig(hosts=tuple(hosts)).problems()
    for problem, start in zip(problems, words, strict=True):
        assert f"{problem.setting} {problem.text} {problem.remedy}".startswith(start)


def test_a_chain_of_fallbacks() -> None:
    config = SmarthostConfig(hosts=(host(name="a", fallback="b"), host(name="b", fallback="c"), host(name="c")))
    assert [[one.label for one in group] for group in config.chain("a")] == [["a"], ["b"], ["c"]]
    assert config.chain("gone") == []


def test_a_group_and_its_fallbacks() -> None:
    config = SmarthostConfig(
        hosts=(
            host(name="a", group="both", fallback="c"),
            host(name="b", group="both", fallback="a"),
            host(name="c", group="spare"),
            host(name="d", group="spare"),
        )
    )
    assert [[one.label for one in group] for group in config.chain("a")] == [["a", "b"], ["c", "d"]]
    assert [problem.setting for problem in config.problems()] == ["hosts[3]"]  # a fallback names c only


OAUTH = {"token_url": "https://id.isp.test/token", "client_id": "palomar", "refresh_token": "r"}


@pytest.mark.parametrize(
    ("oauth", "words"),
    [
        ({"token_url": "http://id.isp.test/token"}, "token_url 'http://id.isp.test/token' is no https address."),
        ({"client_id": ""}, "client_id must be set."),
        ({"refresh_token": ""}, "refresh_token is missing."),
        ({"refresh_token_file": Path("x")}, "refresh_token and refresh_token_file are both set."),
        ({"client_secret": "x", "client_secret_file": Path("x")}, "client_secret and client_secret_file are both set."),
    ],
)
def test_bad_tokens_are_refused(oauth: dict[str, object], words: str) -> None:
    assert list(OAuthClient(**OAUTH).problems()) == []  # type: ignore[arg-type]
    (problem,) = OAuthClient(**{**OAUTH, **oauth}).problems()  # type: ignore[arg-type]
    assert f"{problem.setting} {problem.text}" == words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"oauth": "isp", "username": "ana", "password": "x"}, "oauth and a password are both set."),
        ({"oauth": "isp"}, "username is missing: oauth needs it."),
        ({"certificate": Path("x")}, "key is missing"),
        ({"key": Path("x")}, "certificate is missing"),
        ({"fingerprints": ("x",)}, "fingerprints 'x' is no SHA-256 fingerprint"),
        ({"tls": "off", "oauth": "isp", "username": "ana"}, "tls must not be off"),
        ({"weight": 0}, "weight must be within"),
        ({"own_name": "-"}, "own_name '-' is no domain name"),
        ({"source_addresses": ("x",)}, "source_addresses 'x' is no IP address."),
    ],
)
def test_bad_ways_to_log_in_are_refused(settings: dict[str, object], words: str) -> None:
    (problem,) = host(**settings).problems()
    assert f"{problem.setting} {problem.text}".startswith(words)


def test_tokens_that_nobody_configured_are_refused() -> None:
    (problem,) = SmarthostConfig(hosts=(host(username="ana", oauth="isp"),)).problems()
    assert problem.setting == "hosts[0].oauth"


def test_tls_comes_first_on_its_port() -> None:
    assert host(port=465).speaks_tls_first
    assert not host(port=465, implicit_tls=False).speaks_tls_first
    assert not host().speaks_tls_first
    assert host(port=1465, implicit_tls=True).speaks_tls_first


def test_the_table_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "palomar.toml"
    section = Section("smarthost", SmarthostConfig)
    file.write_text('[[smarthost.hosts]]\nhost = "smtp.isp.test"\nusername = "ana"\npassword_file = "secret"\n')
    (found,) = settings_from(Document.read(file), [section])[SmarthostConfig].hosts
    assert (found.label, found.port, found.tls, found.verify) == ("smtp.isp.test", 587, "required", True)
    assert found.password_file == tmp_path / "secret"
    file.write_text('[[smarthost.hosts]]\nhost = "smtp.isp.test"\ntls = "maybe"\n')
    with pytest.raises(ConfigError, match="must be one of 'required', 'opportunistic', 'off'"):
        settings_from(Document.read(file), [section])


def test_a_password_shows_in_no_text() -> None:
    assert "secret" not in repr(Login("ana", "secret"))
