"""`palomar tls` and `palomar domain dns`, on a store that no appliance holds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.store.soft import SoftStore
from plugins.tlspolicy.schema import MIGRATIONS
from tests.appliance.cli.conftest import Shell

CONFIG = """\
hostname = "mail.palomar.test"
domains = ["palomar.test"]
plugins = ["mda", "tlspolicy", "relay"]

[store]
reserve_mib = 0

[tlspolicy]
publish = "enforce"
report_address = "tls@palomar.test"
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    config = tmp_path / "palomar.toml"
    config.write_text(f'data = "{tmp_path}/data"\n{CONFIG}')
    (tmp_path / "data").mkdir()
    return Shell(config)


def test_nothing_is_known_at_first(shell: Shell) -> None:
    assert shell.good("tls", "domains").err == "No domain is known yet.\n"
    assert shell.good("tls", "reports", "--json").json == []
    assert shell.good("tls", "forget", "b.test").out == "nothing was known of b.test\n"


def test_our_policy_is_printed_as_the_file_has_it(shell: Shell) -> None:
    assert shell.good("tls", "policy").out == (
        "version: STSv1\nmode: enforce\nmx: mail.palomar.test\nmax_age: 604800\n"
    )


def test_the_records_of_a_domain_are_lines_of_its_zone(shell: Shell) -> None:
    out = shell.good("domain", "dns", "palomar.test").out
    assert "palomar.test. IN MX 10 mail.palomar.test.\n" in out
    assert '_smtp._tls.palomar.test. IN TXT "v=TLSRPTv1; rua=mailto:tls@palomar.test"\n' in out
    assert "mta-sts.palomar.test. IN CNAME mail.palomar.test.\n" in out
    rows = shell.good("domain", "dns", "palomar.test", "--json").json
    assert {"MX", "TXT", "CNAME"} == {row["type"] for row in rows}
    assert shell("domain", "dns", "elsewhere.test").code != 0


async def remember(folder: Path) -> None:
    soft = SoftStore(folder / "soft.db")
    soft.add(MIGRATIONS)
    await soft.write(
        lambda db: db.execute("INSERT INTO tls_level VALUES ('b.test', 'authenticated', ?)", (4_000_000_000,)).rowcount
    )
    await soft.write(
        lambda db: (
            db.execute(
                "INSERT INTO tls_policy VALUES ('b.test', '1', 'enforce', 'mx.b.test', 86400, ?, ?)",
                (4_000_000_000,) * 2,
            ).rowcount
        )
    )
    await soft.close()


async def test_a_domain_is_shown_and_forgotten(shell: Shell, tmp_path: Path) -> None:
    shell_of = lambda *words: asyncio.to_thread(shell.good, *words)  # noqa: E731 - the command has a loop of its own
    await shell_of("tls", "domains")
    await remember(tmp_path / "data")
    [row] = (await shell_of("tls", "domains", "--json")).json
    assert (row["domain"], row["mta_sts"], row["mx"], row["level"]) == (
        "b.test",
        "enforce",
        ["mx.b.test"],
        "authenticated",
    )
    assert "b.test" in (await shell_of("tls", "domains")).out
    assert (await shell_of("tls", "forget", "B.test")).out.startswith("B.test is forgotten")
    assert (await shell_of("tls", "domains", "--json")).json == []
