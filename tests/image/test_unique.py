"""Each kind of unique thing, planted and found; and what only looks like one, left alone."""

from __future__ import annotations

import importlib.util
import py_compile
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from image.unique import Tree, find_unique, main

KEY = trustme.CA().private_key_pem.bytes().decode()
SSH_KEY = (
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{'b3BlbnNzaC1rZXktdjEAAAAABG5vbmU' * 2}\n-----END OPENSSH PRIVATE KEY-----\n"
)
HASH = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
ARGON = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG"

PLANTED: list[tuple[Tree, str, str, str]] = [
    ("root", "etc/machine-id", "b08dfa6083e7567a1921a715000001fb\n", "machine id"),
    ("root", "var/lib/dbus/machine-id", "b08dfa6083e7567a1921a715000001fb\n", "machine id"),
    ("root", "etc/ssh/ssh_host_ed25519_key", SSH_KEY, "ssh key"),
    ("root", "etc/ssh/ssh_host_ed25519_key", SSH_KEY, "private key"),
    ("root", "root/.ssh/authorized_keys", "ssh-ed25519 AAAA me\n", "ssh key"),
    ("root", "usr/share/somewhere/hidden", f"text before\n{KEY}", "private key"),
    ("root", "etc/dkim/mail.private", "x", "key"),
    ("root", "usr/lib/palomar/plugins/spam/dkim/mail.private", "x", "key"),
    ("root", "usr/lib/age.txt", "AGE-SECRET-KEY-1" + "Q" * 58, "private key"),
    ("root", "var/lib/systemd/random-seed", "\x01\x02", "random seed"),
    ("root", "var/lib/systemd/credential.secret", "x", "random seed"),
    ("root", "etc/shadow", f"root:{HASH}:20000:0:99999:7:::\n", "password"),
    ("root", "etc/shadow", "admin::20000:0:99999:7:::\n", "password"),
    ("root", "etc/shadow", f"admin:!{HASH}:20000:0:99999:7:::\n", "password"),
    ("root", "etc/gshadow", f"wheel:{HASH}::\n", "password"),
    ("root", "etc/passwd", f"root:{HASH}:0:0:root:/root:/bin/sh\n", "password"),
    ("root", "etc/passwd", "root::0:0:root:/root:/bin/sh\n", "password"),
    ("root", "etc/palomar.toml", f'password = "{ARGON}"\n', "password hash"),
    ("root", "etc/wpa_supplicant/wpa_supplicant.conf", "network={\n  psk=0123456789abcdef\n}\n", "password"),
    ("root", "var/lib/dhcp/dhclient.eth0.leases", "lease {}", "lease"),
    ("root", "var/lib/palomar/eth0.lease", "x", "lease"),
    ("root", "var/log/dpkg.log", "installed", "log"),
    ("root", "var/log/journal/1234/system.journal", "x", "log"),
    ("root", "root/.bash_history", "make image", "shell history"),
    ("root", "var/cache/ldconfig/aux-cache", "x", "build leftover"),
    ("root", "var/lib/apt/lists/example.org_InRelease", "x", "build leftover"),
    ("root", "etc/passwd-", "x", "build leftover"),
    ("root", "etc/resolv.conf", "nameserver 192.0.2.1\n", "build leftover"),
    ("root", "etc/hostname", "builder7\n", "host name"),
    ("root", "usr/lib/palomar/x.json", '{"from": "/home/maker/checkout"}', "trace of the build"),
    ("root", "usr/bin/tool", "\x7fELF" + "\0" * 5_000_000 + "/home/maker/checkout/tool.c", "trace of the build"),
    ("data", "mail/mail.db", "SQLite format 3\0", "data"),
    ("data", "identity/setup-code", "1234-5678", "setup code"),
    ("data", "identity/tls/key.pem", KEY, "private key"),
    ("boot", "palomar.toml", 'hostname = "x"\npassword = "hunter2"\n', "password"),
    ("boot", "palomar.toml", f'password_hash = "{ARGON}"\n', "password hash"),
    ("boot", "rpi-preseed.toml", "", "first-boot file"),
    ("boot", "ssh", "", "first-boot file"),
    ("boot", "RESET", "", "reset file"),
]


def plant(top: Path, path: str, text: str) -> None:
    file = top / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(("tree", "path", "text", "kind"), PLANTED, ids=lambda value: str(value)[:30])
def test_what_is_planted_is_found(tree: Tree, path: str, text: str, kind: str, tmp_path: Path) -> None:
    plant(tmp_path, path, text)
    found = find_unique(tmp_path, tree, traces=["/home/maker/checkout"])
    assert (path, kind) in {(finding.path, finding.kind) for finding in found}


INNOCENT = {
    "etc/machine-id": "uninitialized\n",
    "etc/hostname": "palomar\n",
    "etc/shadow": "root:*:20416:0:99999:7:::\nsshd:!*:20416::::::\nadmin:!:20416::::::\n",
    "etc/gshadow": "root:*::\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/resolv.conf": "# written at run time\n",
    "etc/ssh/sshd_config": "# PasswordAuthentication no\nPasswordAuthentication no\n",
    "etc/ssl/certs/ca-certificates.crt": "-----BEGIN CERTIFICATE-----\nMIIF\n-----END CERTIFICATE-----\n",
    "etc/pam.d/common-password": "password [success=1 default=ignore] pam_unix.so yescrypt\n",
    "usr/lib/python3/dist-packages/pem.py": 'BEGIN = "-----BEGIN PRIVATE KEY-----"\nEND = ""\n',
    "usr/lib/palomar/plugins/spam/dkim/keys.py": "KEYS = ()",
    "usr/share/doc/shadow/copyright": f"an example is {HASH}\n",
    "usr/lib/systemd/systemd-random-seed": "\x7fELF",
    "var/log/wtmp": "",
    "var/lib/dbus/machine-id": "",
}


def test_what_only_looks_like_it_is_left_alone(tmp_path: Path) -> None:
    for path, text in INNOCENT.items():
        plant(tmp_path, path, text)
    assert find_unique(tmp_path, "root") == []


def test_a_template_with_everything_commented_out_is_no_secret(tmp_path: Path) -> None:
    plant(tmp_path, "palomar.toml", '# [setup]\n#password = "write yours here"\npassword_file = "palomar.secret"\n')
    assert find_unique(tmp_path, "boot") == []


def test_the_tree_s_own_path_is_a_trace(tmp_path: Path) -> None:
    plant(tmp_path, "usr/lib/palomar/direct_url.json", f'{{"url": "file://{tmp_path.resolve()}/dist"}}')
    assert [finding.kind for finding in find_unique(tmp_path, "root")] == ["trace of the build"]


@pytest.mark.parametrize("mode", list(py_compile.PycInvalidationMode))
def test_compiled_code_must_not_hold_a_file_s_time(mode: py_compile.PycInvalidationMode, tmp_path: Path) -> None:
    plant(tmp_path, "usr/lib/m.py", "x = 1\n")
    source = tmp_path / "usr/lib/m.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    py_compile.compile(str(source), str(compiled), dfile="/usr/lib/m.py", invalidation_mode=mode)
    kinds = [finding.kind for finding in find_unique(tmp_path, "root")]
    assert kinds == (["compiled code"] if mode is py_compile.PycInvalidationMode.TIMESTAMP else [])


def test_compiled_code_with_the_build_s_path_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "usr/lib/m.py", "x = 1\n")
    source = tmp_path / "usr/lib/m.py"
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert [finding.kind for finding in find_unique(tmp_path, "root")] == ["trace of the build"]


def test_a_trace_is_found_across_the_pieces_that_a_large_file_is_read_in(tmp_path: Path) -> None:
    file = tmp_path / "big"
    for shift in range(-12, 4):
        file.write_bytes(bytes((4 << 20) + shift) + b"/home/maker" + bytes(100))
        assert find_unique(tmp_path, "root", traces=["/home/maker"]), shift


def test_a_file_too_large_to_look_through_is_a_finding(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate((256 << 20) + 1)
    assert [finding.kind for finding in find_unique(tmp_path, "root")] == ["size"]


def test_the_command_fails_when_something_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "usr/x", "x")
    assert CliRunner().invoke(main, ["root", str(tmp_path)]).exit_code == 0
    plant(tmp_path, "etc/hostname", "builder7")
    done = CliRunner().invoke(main, ["root", str(tmp_path)])
    assert done.exit_code == 1
    assert "etc/hostname: host name" in done.output
