"""Which settings of servers that know each other are refused, and with what words."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.config import Section
from appliance.document import Document
from appliance.errors import ConfigError
from appliance.settings import settings_from
from plugins.peers.command import peers as peers_command
from plugins.peers.config import LEAST_SECRET, Behind, PeersConfig, SecretError, secret_of

SECRET = "x" * LEAST_SECRET


def problems(**peers: object) -> list[str]:
    document = Document({"peers": peers}, Path("/palomar.toml"), {})
    try:
        settings_from(document, [Section("peers", PeersConfig)])
    except ConfigError as error:
        return [f"{problem.setting} {problem.text}" for problem in error.problems]
    return []


def behind(**values: object) -> dict[str, object]:
    return {"behind": [{"name": "mail.a.test", "recipients": ["a.test"], **values}]}


def before(**values: object) -> dict[str, object]:
    return {"before": [{"host": "outer.a.test", "secret": SECRET, **values}]}


@pytest.mark.parametrize(
    "peers",
    [
        {},
        behind(),
        behind(kind="relay", host="192.0.2.1", secret=SECRET),
        behind(host="-", recipients=["a@b.test", "*.c.test"]),
        before(),
        before(host="2001:db8::1", domains=["a.test"], secret="", secret_file="x"),
    ],
)
def test_what_is_right(peers: dict[str, object]) -> None:
    assert problems(**peers) == []


@pytest.mark.parametrize(
    ("peers", "words"),
    [
        (behind(name=""), "peers.behind[0].name '' is no domain name"),
        (behind(recipients=[]), "peers.behind[0].recipients must not be empty"),
        (behind(recipients=["a b"]), "peers.behind[0].recipients 'a b' is neither"),
        (behind(host="-", kind="relay"), "peers.behind[0].host must be set for a relay"),
        (behind(host="a b"), "peers.behind[0].host 'a b' is no domain name"),
        (behind(secret="short"), "peers.behind[0].secret has less than 20"),
        (behind(secret=SECRET, secret_file="x"), "peers.behind[0].secret and secret_file"),
        ({"behind": [*behind()["behind"], *behind(name="MAIL.a.test")["behind"]]}, "stands there already"),  # type: ignore[misc]
        (before(host=""), "peers.before[0].host must be set"),
        (before(secret=""), "peers.before[0].secret is missing"),
        (before(name="-"), "peers.before[0].name '-' is no domain name"),
        (before(domains=["-"]), "peers.before[0].domains '-' is no domain name"),
        (before(port=0), "peers.before[0].port must be within"),
        ({"look": 0}, "peers.look must be within"),
        ({"stale_after_days": 0}, "peers.stale_after_days must be within"),
    ],
)
def test_what_is_wrong(peers: dict[str, object], words: str) -> None:
    (problem,) = problems(**peers)
    assert words in problem


def test_a_secret_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    one = Behind(secret_file=file)
    with pytest.raises(SecretError, match="No such file"):
        secret_of(one)
    file.write_text("short\n")
    with pytest.raises(SecretError, match="less than 20"):
        secret_of(one)
    file.write_text(f" {SECRET}\r\nmore\n")
    assert secret_of(one) == SECRET
    assert secret_of(Behind(secret=SECRET)) == SECRET


def test_a_new_secret_is_long_enough_and_new() -> None:
    made = [CliRunner().invoke(peers_command, ["secret"]).output.strip() for _ in range(2)]
    assert all(len(one) >= LEAST_SECRET for one in made)
    assert made[0] != made[1]


def test_whose_list_may_come() -> None:
    one = Behind(recipients=("a.test", "b@c.test", "*.d.test"))
    assert [one.serves(domain) for domain in ("a.test", "c.test", "x.d.test", "d.test", "e.test")] == [
        True, True, True, False, False,
    ]  # fmt: skip
