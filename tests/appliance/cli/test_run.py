"""`palomar run` as a process of its own: commands through its socket, signals, the end; and the demo."""

from __future__ import annotations

import poplib
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.commands import run as run_command
from appliance.control import SOCKET_NAME, CallError
from appliance.controlclient import SocketControl
from appliance.errors import ConfigError
from tests.appliance.cli.conftest import PASSWORD, Shell
from tests.ports import free_ports

ANA = "ana@palomar.test"
DEADLINE_S = 30.0
LOOPBACK = """\
domains = ["palomar.test"]
plugins = ["mda", "smtp", "pop3"]
[store]
reserve_mib = 0
[smtp]
mx = ["127.0.0.1:{}"]
submission = []
submissions = []
[pop3]
listen = ["127.0.0.1:{}"]
listen_tls = []
"""


def wait_for_socket(process: subprocess.Popen[str], folder: Path) -> None:
    """The socket is the last but one thing to come up; polling it is all a stranger can do."""
    deadline = time.monotonic() + DEADLINE_S
    while (control := SocketControl.connect(folder)) is None:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    control.close()


@pytest.fixture
def running(office: Shell) -> Iterator[tuple[Shell, subprocess.Popen[str], list[int]]]:
    """An appliance with SMTP and POP3 on free ports of the loopback."""
    ports = free_ports(2)
    office.config.write_text(LOOPBACK.format(*ports))
    command = [sys.executable, "-m", "appliance", "-c", str(office.config), "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_socket(process, office.config.parent / "data")
        yield office, process, ports
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


Running = tuple[Shell, subprocess.Popen[str], list[int]]


def test_commands_go_through_the_socket_while_it_runs(running: Running, tmp_path: Path) -> None:
    shell, process, (smtp, pop3) = running
    assert "Accounts" in shell.good("check").out
    assert "Accounts" in (told := shell("status")).out
    assert told.code in {0, 3}  # 3: the disk of this machine is nearly full
    shell.good("alias", "add", "office@palomar.test", ANA)
    with smtplib.SMTP("127.0.0.1", smtp) as peer:
        peer.sendmail("zoe@elsewhere.test", ["office@palomar.test"], b"Subject: one\r\n\r\ntext\r\n")
    shell.good("send", "--from", ANA, "--to", ANA, "--subject", "two", "--text", "text")
    big = tmp_path / "big.mbox"
    big.write_text("From x\nSubject: three\n\n" + "0123456789abcdef\n" * 200_000)
    assert "1 messages" in shell.good("mailbox", "import", ANA, big).out
    shell.good("mailbox", "export", ANA, "INBOX", tmp_path / "out.mbox")
    assert big.read_text().partition("\n\n")[2] in (tmp_path / "out.mbox").read_text()
    box = poplib.POP3("127.0.0.1", pop3)
    box.user(ANA)
    box.pass_(PASSWORD)
    assert box.stat()[0] == 3
    box.quit()
    assert shell("account", "show", "zoe@palomar.test").code == 1
    assert {row["what"] for row in shell.good("trace", "zoe@elsewhere.test", "--json").json} >= {"accepted"}
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 0
    assert not (shell.config.parent / "data" / SOCKET_NAME).exists()
    assert len(shell.good("account", "list", "--json").json) == 2


def test_a_second_one_is_refused_in_words(running: Running) -> None:
    shell, _, _ = running
    ports = free_ports(2)
    shell.config.write_text(LOOPBACK.format(*ports))
    command = [sys.executable, "-m", "appliance", "-c", str(shell.config), "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert "is in use by another process" in done.stderr
    assert "remedy: Use the appliance that runs there" in done.stderr


def test_check_does_not_take_our_own_ports_for_taken(running: Running) -> None:
    shell, _, _ = running
    with shell.config.open("a") as file:
        file.write("\n[mda]\nodd = 1\n")
    done = shell("check")
    assert done.code == 2
    assert "1 problem in" in done.err


def demo_config(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    smtp, pop3 = free_ports(2)
    path = folder / "demo.toml"
    path.write_text(LOOPBACK.format(smtp, pop3).replace(f"127.0.0.1:{smtp}", f"{host}:{smtp}"))
    monkeypatch.setattr(run_command, "DEMO_CONFIG", path)
    return path


def test_the_demo_makes_its_accounts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = demo_config(tmp_path, "127.0.0.1", monkeypatch)
    for _ in range(2):
        loaded = run_command._demo()
        assert loaded.path == path
    assert [row["name"] for row in Shell(path).good("account", "list", "--json").json] == [ANA, "luis@palomar.test"]
    told = run_command.banner(loaded.settings)
    assert "smtp.mx" in told
    assert f"{ANA}, luis@palomar.test; password: palomar" in told
    assert told.count("palomar send") == 1


def test_the_demo_is_for_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo_config(tmp_path, "", monkeypatch)
    with pytest.raises(ConfigError, match="stays on the loopback"):
        run_command._demo()


def test_the_demo_s_accounts_do_not_start_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = demo_config(tmp_path, "127.0.0.1", monkeypatch)
    run_command._demo()
    path.write_text(path.read_text().replace("mx = [", 'submission = [":1"]\nmx = [').replace("submission = []\n", ""))
    text = path.read_text().replace('":1"', f'":{free_ports(1)[0]}"')
    path.write_text(text)
    done = Shell(path)("run")
    assert done.code == 2
    assert done.err.count("has the password of the demo") == 2
    assert f"palomar account password {ANA}" in done.err


def test_without_the_source_there_is_no_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_command, "DEMO_CONFIG", tmp_path / "nowhere.toml")
    with pytest.raises(CallError, match=r"nowhere\.toml is not there"):
        run_command._demo()
