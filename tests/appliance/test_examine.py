"""What `palomar check` and the start find in a file: all of it, whichever part is wrong."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from appliance import listener
from appliance.app import examine

SILENT = """
[smtp]
mx = []
submission = []
submissions = []
[imap4]
listen = []
listen_tls = []
[pop3]
listen = []
listen_tls = []
"""


def told(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "palomar.toml"
    file.write_text(text)
    _, problems = examine(file)
    assert all(problem.remedy and problem.text.endswith(".") for problem in problems)
    assert all(problem.file == str(file) and problem.line for problem in problems)
    return [f"{problem.line} {problem.setting}" for problem in sorted(problems, key=lambda one: one.line)]


def test_a_bad_top_level_hides_nothing(tmp_path: Path) -> None:
    text = """hostname = "bad host"
domains = "a.test"
plugins = ["mda", "smtp", "imap4", "pop3", "nosuch", "smtp"]
relay_networks = ["0.0.0.0/0"]
[nosuch]
x = 1
[foo]
x = 1
[relay]
port = 26
[tls]
certificate = "nope.pem"
key = "nope.key"
[dns]
zone_file = "nope.zone"
[store]
reserve_mib = -4
"""
    assert told(tmp_path, text + SILENT) == [
        "1 hostname",
        "2 domains",
        "3 plugins[1]",  # named twice
        "3 plugins[4]",  # not there; and so its table is nobody's fault
        "4 relay_networks",
        "7 foo",
        "9 relay",
        "12 tls.certificate",
        "13 tls.key",
        "15 dns.zone_file",
        "17 store.reserve_mib",
    ]


def test_without_a_list_of_plugins_no_table_is_blamed(tmp_path: Path) -> None:
    assert told(tmp_path, 'plugins = "mda"\n[third_party]\nx = 1' + SILENT) == ["1 plugins"]


def test_plugins_that_fail_hide_each_other_as_little_as_the_rest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "from appliance.hookspecs import hookimpl\n@hookimpl\ndef settings():\n    raise ValueError('no')\n"
        )
    text = 'plugins = ["one", "two", "mda"]\nplugin_folder = "."\nhostname = 5\n[mda]\nseparator = "x"\n'
    assert told(tmp_path, text) == ["1 plugins[0]", "1 plugins[1]", "3 hostname", "5 mda.separator"]


def test_a_certificate_for_a_dotted_name_is_told_at_its_line(tmp_path: Path) -> None:
    text = '[tls.names."mail.example.org"]\ncertificate = "nope.pem"\nkey = "nope.key"\n'
    assert told(tmp_path, text + SILENT) == [
        '2 tls.names."mail.example.org".certificate',
        '3 tls.names."mail.example.org".key',
    ]


def test_a_port_that_systemd_hands_over_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        text = SILENT.replace("mx = []", f'mx = ["127.0.0.1:{port}"]')
        assert [line.split()[1] for line in told(tmp_path, text)] == ["smtp.mx"]
        monkeypatch.setattr(listener, "_inherited", {"smtp": [held]})
        assert told(tmp_path, text) == []
