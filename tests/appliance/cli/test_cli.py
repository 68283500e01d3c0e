"""Finding commands, help, errors with remedies, exit codes, completion."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from appliance import __version__
from appliance.cli import COMMANDS, main, palomar
from tests.appliance.cli.conftest import Shell
from tests.ports import free_port

INSTALLED = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}  # for a process that starts elsewhere


def test_help_lists_every_command(shell: Shell) -> None:
    done = shell.good("--help")
    assert [name for name in COMMANDS if f"\n  {name} " not in done.out] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_has_help(name: str) -> None:
    command = palomar.get_command(click.Context(palomar), name)  # type: ignore[attr-defined]
    assert command is not None
    assert command.help
    assert "\\b" not in command.help  # it would be shown, and lines run together


def test_every_reading_command_has_json() -> None:
    reading = {"list", "show", "check", "config", "hooks", "trace"}
    waiting: list[tuple[str, click.Command]] = [
        (name, palomar.get_command(click.Context(palomar), name))
        for name in COMMANDS  # type: ignore[attr-defined]
    ]
    without = []
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group):
            waiting += [(f"{name} {inner}", found) for inner, found in command.commands.items()]
        elif name.split()[-1] in reading and all("--json" not in p.opts for p in command.params):
            without.append(name)
    assert without == []


def test_no_command_takes_a_password_as_an_argument() -> None:
    group = palomar.get_command(click.Context(palomar), "account")  # type: ignore[attr-defined]
    assert isinstance(group, click.Group)
    for command in group.commands.values():
        for parameter in command.params:
            assert parameter.name != "password", command.name


def test_the_version(shell: Shell) -> None:
    assert __version__ in shell.good("--version").out


def test_the_version_is_told_without_waking_the_appliance() -> None:
    """A small board takes a second to import what this leaves out."""
    heavy = ("asyncio", "ssl", "sqlite3", "msgspec", "pluggy", "appliance.app", "appliance.store", "appliance.config")
    program = f"import sys; from appliance.cli import main; main(['--version']); print(sys.modules.keys() & {heavy!r})"
    done = subprocess.run([sys.executable, "-c", program], env=INSTALLED, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[1] == "set()"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["account", "add"], ["queue", "list", "--odd"], ["account", "quota", "a@b.c", "much"]]
)
def test_wrong_usage_is_told_with_the_help_to_ask_for(shell: Shell, arguments: list[str]) -> None:
    done = shell(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert "--help` shows" in done.err


def test_a_refused_call_is_told_with_its_remedy(shell: Shell) -> None:
    done = shell("account", "show", "zoe@palomar.test")
    assert done.code == 1
    assert done.err == ("error: there is no account zoe@palomar.test\n  remedy: `palomar account list` shows all.\n")


def test_a_missing_file_is_an_error_of_the_configuration(shell: Shell, tmp_path: Path) -> None:
    shell.config = tmp_path / "nowhere.toml"
    for command in (["check"], ["account", "list"], ["run"]):
        done = shell(*command)
        assert done.code == 2, command
        assert "nowhere.toml" in done.err
        assert "remedy: Name the file with --config" in done.err


def test_a_broken_configuration_is_told_whole_with_lines_and_remedies(shell: Shell) -> None:
    shell.config.write_text(
        'hostnam = "x"\nplugins = ["mda", "smtpp"]\n\n[store]\ncompress = "yes"\n\n[mda]\nseparator = "++"\n[odd]\n'
    )
    done = shell("check")
    assert (done.code, done.out) == (2, "")
    for line, name, remedy in (
        (1, "hostnam", "Did you mean 'hostname'?"),
        (2, "plugins[1]", "There are: "),
        (5, "store.compress", ""),
        (8, "mda.separator", ""),
        (9, "odd", ""),
    ):
        assert f"palomar.toml:{line}: {name}: " in done.err
        assert remedy in done.err
    assert "5 problems" in done.err


def test_what_a_start_would_trip_over_is_told_in_the_same_breath(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = free_port()
        shell.config.write_text(
            'plugins = ["mda", "smtp", "pop3", "nosuch"]\n\n'
            f'[smtp]\nmx = ["127.0.0.1:{port}"]\nsubmission = ["127.0.0.1:{free}"]\nsubmissions = []\n'
            f'max_sise = 5\n\n[pop3]\nlisten = ["127.0.0.1:{free}"]\nlisten_tls = ["nonsense"]\n\n'
            '[tls]\ncertificate = "nowhere.pem"\nkey = "nowhere.key"\n\n[dns]\nzone_file = "nowhere.zone"\n'
        )
        done = shell("check")
        assert shell("run").err == done.err
    assert done.code == 2
    for name, words in (
        ("plugins[3]", "no such plugin"),
        ("smtp.mx", "Address already in use"),
        ("smtp.max_sise", "no such setting"),
        ("pop3.listen", "claimed by smtp.submission too"),
        ("pop3.listen_tls[0]", "is no address"),
        ("tls", "nowhere.pem"),
        ("dns.zone_file", "nowhere.zone"),
    ):
        (line,) = [line for line in done.err.splitlines() if f": {name}" in line and words in line]
        assert "palomar.toml:" in line
    assert not (shell.config.parent / "data").exists()


def test_a_data_folder_that_others_can_read_is_told(shell: Shell) -> None:
    data = shell.config.parent / "data"
    data.mkdir()
    shell.config.write_text(f'data = "data"\n{shell.config.read_text()}')
    for mode, told in ((0o755, True), (0o750, False), (0o770, True), (0o701, True), (0o700, False)):
        data.chmod(mode)
        done = shell("check")
        assert done.code == (2 if told else 0), done.err
        assert (f"palomar.toml:1: data: others can look into {data}" in done.err) is told
        assert (f"remedy: Type: chmod 700 {data}" in done.err) is told
    data.chmod(0o755)
    shell.good("account", "add", "ana@palomar.test", "--password-stdin", input="correct horse\n")  # nothing else stops


def test_what_the_process_writes_is_private(office: Shell, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "appliance", "-c", office.config, "mailbox", "export")
    target = tmp_path / "ana.mbox"
    subprocess.run((*command, "ana@palomar.test", "INBOX", target), umask=0, check=True, timeout=60)
    assert target.stat().st_mode & 0o777 == 0o600


def test_problems_as_json(shell: Shell) -> None:
    shell.config.write_text("hostnam = 1\n")
    done = shell("check", "--json")
    assert done.code == 2
    (problem,) = done.json
    assert (problem["setting"], problem["line"]) == ("hostnam", 1)
    shell.config.write_text('plugins = ["mda"]\n')
    assert shell.good("check", "--json").json == []


def test_a_good_configuration_is_said_to_be_good(shell: Shell) -> None:
    assert "no problems" in shell.good("check").out


def test_config_shows_values_and_defaults_and_no_secrets(shell: Shell) -> None:
    rows = {(row["section"], row["setting"]): row for row in shell.good("config", "--json").json["settings"]}
    assert rows["", "hostname"] == {
        "section": "",
        "setting": "hostname",
        "value": "mail.palomar.test",
        "default": False,
    }
    assert rows["mda", "separator"]["default"]
    shown = shell.good("config").out
    assert "mail.palomar.test" in shown
    assert len([line for line in shown.splitlines() if len(line) > 120]) <= 1  # a long value widens no other row


def test_config_names_the_secrets_and_every_problem_in_json(shell: Shell) -> None:
    host = '[[smarthost.hosts]]\nhost = "smtp.test"\nusername = "ana"\npassword = "s3cret"\n'
    shell.config.write_text(f'plugins = ["smarthost"]\n{host}')
    told = shell.good("config", "--json")
    assert told.json["secrets"] == ["smarthost.hosts[0].password"]
    assert "s3cret" not in told.out
    shell.config.write_text("hostnam = 1\ndomains = 2\n")
    told = shell("config", "--json")
    assert (told.code, [one["line"] for one in told.json["problems"]]) == (2, [1, 2])


def test_a_secret_stays_hidden(shell: Shell) -> None:
    from dataclasses import dataclass

    from appliance.commands.config import HIDDEN, _rows
    from appliance.config import setting

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Host:
        """[host]"""

        name: str = setting("", "Name.")
        password: str = setting("", "Password.", secret=True)

    assert [row["value"] for row in _rows(Host(name="a", password="b"))] == ["a", HIDDEN]


def test_hooks_are_listed(shell: Shell) -> None:
    assert "smtp_recipient" in shell.good("hooks").out
    assert any(row["name"] == "smtp_recipient" for row in shell.good("hooks", "--json").json)


def test_a_plugin_brings_a_command(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "greeting.py").write_text(
        "import click\n"
        "from appliance.hookspecs import hookimpl\n\n"
        "@click.command()\n@click.pass_obj\n"
        'def greet(palomar):\n    """Greet everybody."""\n'
        "    click.echo(f\"hello {len(palomar.call('account.list'))}\")\n\n"
        "@hookimpl\ndef commands():\n    return [greet]\n"
    )
    shell.config.write_text('domains = ["palomar.test"]\nplugins = ["mda", "greeting"]\nplugin_folder = "."\n')
    assert shell.good("greet").out == "hello 0\n"
    assert "Greet everybody" in shell.good("--help").out


def test_help_works_while_the_configuration_does_not(shell: Shell) -> None:
    shell.config.write_text("hostnam = 1\n")
    assert "account" in shell.good("--help").out


@pytest.mark.parametrize(("name", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_scripts(shell: Shell, name: str, word: str) -> None:
    script = shell.good("completion", name).out
    assert "_PALOMAR_COMPLETE" in script
    assert word in script


def test_words_are_completed(shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appliance"],
        env=INSTALLED | {"_PALOMAR_COMPLETE": "bash_complete", "COMP_WORDS": "palomar account app", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=False,
        cwd=shell.config.parent,
    )
    assert "app-password" in done.stdout


def test_an_interrupt_ends_quietly(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(palomar, "main", interrupted)
    assert main([]) == 130


def test_a_closed_pipe_is_no_traceback(shell: Shell) -> None:
    command = f"{sys.executable} -m appliance hooks --json | head -c 1"
    done = subprocess.run(
        ["sh", "-c", command], env=INSTALLED, capture_output=True, text=True, check=False, cwd=shell.config.parent
    )
    assert (done.stdout, done.stderr) == ("[", "")
