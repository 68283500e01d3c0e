"""A configuration that cannot work: everything that is wrong is said at once, and nothing is half started."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.e2e.appliance_process import Appliance
from tests.ports import free_ports

pytestmark = pytest.mark.e2e

BROKEN = 2  # the exit status
PROBLEM = re.compile(
    r"^(?P<file>/\S+):(?P<line>\d+): (?P<setting>[\w.\[\]]+): (?P<text>.*)\n  remedy: (?P<remedy>.*)$", re.MULTILINE
)


@dataclass(frozen=True)
class Said:
    """One problem as it was told."""

    file: str
    line: int
    setting: str
    text: str
    remedy: str


def problems(appliance: Appliance, command: str) -> list[Said]:
    """What a command says about a broken configuration. Every problem must have all its parts."""
    done = appliance.command(command, check=False)
    assert done.returncode == BROKEN, done.stdout + done.stderr
    output = done.stderr + done.stdout
    said = [Said(**{**one.groupdict(), "line": int(one["line"])}) for one in PROBLEM.finditer(output)]
    assert f"{len(said)} problem" in output, output
    assert "Traceback" not in done.stderr
    return said


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path / "appliance")


def line_of(appliance: Appliance, text: str) -> int:
    """The line of the configuration where that stands."""
    return next(number for number, line in enumerate(appliance.config.read_text().splitlines(), 1) if text in line)


def test_seven_mistakes_are_told_at_once(appliance: Appliance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        appliance.ports["pop3s"] = taken
        appliance.ports["imap"] = appliance.ports["submission"]
        appliance.top = 'plugins = ["mda", "smtp", "imap4", "pop3", "smarthost", "relay", "fax"]'
        appliance.inside = {
            "smtp": 'max_recipientz = 7\nmax_size = "large"',
            "tls": 'certificate = "secret.pem"\nkey = "secret.pem"',
        }
        secret = appliance.folder / "secret.pem"
        secret.mkdir()  # root can read any file, but nobody a folder
        appliance.write_config()
        for command in ("check", "run"):
            said = {one.setting: one for one in problems(appliance, command)}
            for setting, stands, text, remedy in (
                ("plugins[6]", "plugins = ", "'fax': there is no such plugin.", "There are: "),
                ("smtp.max_recipientz", "max_recipientz", "there is no such setting.", "mean 'max_recipients'?"),
                ("smtp.max_size", "max_size", "must be a whole number, not text.", "without quotes"),
                ("pop3.listen_tls", f":{taken}", f"127.0.0.1:{taken}: Address already in use.", "Stop the program"),
                ("tls.certificate", "certificate =", "cannot read ", "file"),
                ("tls.key", "key =", "cannot read ", "file"),
            ):
                one = said.pop(setting)
                assert one.file == str(appliance.config)
                assert one.line == line_of(appliance, stands)
                assert text in one.text
                assert remedy in one.remedy
            (twice,) = said.values()  # which of the two is told does not matter
            assert twice.setting in {"imap4.listen", "smtp.submission"}
            assert "is claimed by" in twice.text
            assert twice.remedy == "Give one of them another port."
    assert not (appliance.folder / "data").exists()


def test_a_taken_port_starts_nothing_at_all(appliance: Appliance) -> None:
    with socket.create_server(("127.0.0.1", appliance.ports["pop3s"])):
        (one,) = problems(appliance, "run")
    assert one.setting == "pop3.listen_tls"
    assert not (appliance.folder / "data").exists()
    with appliance:  # and then it starts, with the ports that nobody kept
        assert appliance.ask("account", "list") == []


@pytest.mark.parametrize(("text", "line"), [("hostname = [1", 1), ('hostname = "a"\ndata = here\n', 2)])
def test_what_is_no_toml(appliance: Appliance, text: str, line: int) -> None:
    appliance.config.write_text(text)
    done = appliance.command("check", check=False)
    assert done.returncode == BROKEN
    assert done.stderr.startswith(f"{appliance.config}:{line}: ")
    assert "no TOML" in done.stderr


def test_a_file_that_is_not_there(appliance: Appliance) -> None:
    appliance.config.unlink()
    done = appliance.command("run", check=False)
    assert done.returncode == BROKEN
    assert str(appliance.config) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["mismatch", "garbage"])
def test_certificates_that_cannot_serve(appliance: Appliance, kind: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    one, other = (authority.issue_cert("mail.palomar.test") for _ in range(2))
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    one.cert_chain_pems[0].write_to_path(str(chain))
    (other if kind == "mismatch" else one).private_key_pem.write_to_path(str(key))
    if kind == "garbage":
        chain.write_text("-----BEGIN CERTIFICATE-----\nnot really\n-----END CERTIFICATE-----\n")
    os.chmod(key, 0o600)
    appliance.inside = {"tls": f'certificate = "{chain}"\nkey = "{key}"'}
    appliance.write_config()
    said = problems(appliance, "run")
    assert {one.setting for one in said} <= {"tls.certificate", "tls.key"}


def test_the_password_of_the_demo_never_leaves_the_loopback(appliance: Appliance) -> None:
    appliance.add_accounts("ana@palomar.test", password="palomar")
    (port,) = free_ports(1)
    appliance.config.write_text(
        appliance.config.read_text().replace(f'"127.0.0.1:{appliance.ports["imaps"]}"', f'"0.0.0.0:{port}"')
    )
    said = problems(appliance, "run")
    assert [one.setting for one in said] == ["imap4.listen_tls"]
    assert "palomar account password ana@palomar.test" in said[0].remedy


def test_a_relay_that_is_open_to_the_world(appliance: Appliance) -> None:
    appliance.top = 'relay_networks = ["0.0.0.0/0"]'
    appliance.write_config()
    done = appliance.command("check", check=False)
    assert done.returncode == BROKEN
    assert "would open the relay to the world" in done.stderr + done.stdout
