"""To which server a login goes, and which settings are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import Section
from appliance.document import Document
from appliance.errors import ConfigError
from appliance.settings import settings_from
from plugins.proxy.config import Inner, ProxyConfig


@pytest.mark.parametrize(
    ("login", "host"),
    [
        ("nora@north.test", "north"),
        ("NORA@North.Test", "north"),
        ("ana@office.test", "north"),
        ("ana+phone@office.test", "north"),  # her application password
        ("ben@office.test", "rest"),
        ("nora@deep.north.test", "rest"),
        ("nora", "rest"),
        ("", "rest"),
    ],
)
def test_where_a_login_leads(login: str, host: str) -> None:
    north = Inner(host="north", accounts=("north.test", "ana@office.test"))
    found = ProxyConfig(servers=(north, Inner(host="rest"))).server_of(login)
    assert found is not None
    assert found.host == host
    only = ProxyConfig(servers=(north,)).server_of(login)
    assert (only is None) == (host == "rest")


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ({"servers": [{"host": ""}]}, "servers[0].host must be set"),
        ({"servers": [{"host": "x.test", "accounts": ["a b"]}]}, "is neither an address nor a domain"),
        ({"servers": [{"host": "x.test", "fingerprints": ["ab"]}]}, "is no SHA-256 fingerprint"),
        ({"servers": [{"host": "x.test", "imap_port": 0}]}, "servers[0].imap_port must be within"),
        ({"servers": [{"host": "x.test"}, {"host": "y.test"}]}, "would never be used"),
        ({"mechanisms": ["CRAM-MD5"]}, "proxy.mechanisms"),
        ({"login_timeout": 0}, "proxy.login_timeout must be within"),
    ],
)
def test_what_is_wrong(proxy: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from(Document({"proxy": proxy}, Path("/palomar.toml"), {}), [Section("proxy", ProxyConfig)])
    (problem,) = caught.value.problems
    assert words in f"{problem.setting} {problem.text}"
