"""What is wrong with [oauth], in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.oauth.config import Issuer, OAuthConfig, is_https

GOOD: dict[str, Any] = {"issuer": "https://login.example/realms/office", "audience": ("mail",)}


def test_an_issuer_and_an_audience_are_enough() -> None:
    config = Issuer(**GOOD)
    assert list(config.problems()) == []
    assert config.discovery_url == "https://login.example/realms/office/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"issuer": ""}, "issuer"),
        ({"issuer": "login.example"}, "issuer"),
        ({"issuer": "http://login.example"}, "issuer"),
        ({"audience": ()}, "audience"),
        ({"audience": ("",)}, "audience"),
        ({"keys_url": "http://login.example/keys"}, "keys_url"),
        ({"keys_url": "https://login.example/keys", "keys_file": Path("keys.json")}, "keys_url"),
        ({"claim": ""}, "claim"),
        ({"algorithms": ()}, "algorithms"),
        ({"domain": "not a domain"}, "domain"),
        ({"accounts": {"s-1": "nobody"}}, "accounts.s-1"),
        ({"leeway": 601.0}, "leeway"),
        ({"keys_lifetime": 1.0}, "keys_lifetime"),
    ],
)
def test_problems_name_the_setting(change: dict[str, Any], setting: str) -> None:
    problems = list(Issuer(**{**GOOD, **change}).problems())
    assert [one.setting for one in problems] == [setting]
    assert problems[0].remedy


def test_an_issuer_that_is_no_url_will_do_with_a_file() -> None:
    config = Issuer(issuer="office", audience=("mail",), keys_file=Path("keys.json"))
    assert list(config.problems()) == []
    assert config.discovery_url == ""


@pytest.mark.parametrize(
    "url", ["https://", "https://a b/", "https://u@host/", "https://host:x/", "ftp://h/", "https://ñ/"]
)
def test_what_is_no_https_url(url: str) -> None:
    assert not is_https(url)


def test_problems_of_the_whole() -> None:
    assert list(OAuthConfig().problems()) == []
    twice = OAuthConfig(mechanisms=("XOAUTH2", "XOAUTH2"), issuers={"a": Issuer(**GOOD), "b": Issuer(**GOOD)})
    assert [one.setting for one in twice.problems()] == ["mechanisms", "issuers.b.issuer"]
