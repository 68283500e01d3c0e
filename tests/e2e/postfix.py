"""A real Postfix on the loopback, from a configuration, queue and data folder of its own, without syslog.

Its master runs in the foreground under us and is stopped by its process id. It needs root: its daemons change to
users of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.appliance_process import Certificate, answers, wait_for
from tests.e2e.programs import Done, find, run

DAEMONS = Path("/usr/lib/postfix/sbin")
START_S = 90.0
STOP_S = 60.0

# Queue folders with their modes; all but pid belong to Postfix's user (post-install does the same in two seconds).
_PRIVATE = (
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
)
_DROPS = {"maildrop": 0o730, "public": 0o710}

_SERVICES = """
pickup    unix  n  -  n  60    1  pickup
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  1     1  qmgr
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
verify    unix  -  -  n  -     1  verify
flush     unix  n  -  n  1000? 0  flush
proxymap  unix  -  -  n  -     -  proxymap
proxywrite unix -  -  n  -     1  proxymap
smtp      unix  -  -  n  -     -  smtp
relay     unix  -  -  n  -     -  smtp
lmtp      unix  -  -  n  -     -  lmtp
showq     unix  n  -  n  -     -  showq
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
virtual   unix  -  n  n  -     -  virtual
anvil     unix  -  -  n  -     1  anvil
scache    unix  -  -  n  -     1  scache
postlog   unix-dgram n - n -   1  postlogd
"""


class Postfix:
    """One instance. `ports` are its SMTP ports; `tls_ports` those with TLS from the first octet.

    Mail for `mail_domains` goes into one Maildir, whoever the recipient is.
    """

    def __init__(
        self,
        hostname: str,
        settings: Mapping[str, str],
        *,
        ports: Sequence[int] = (),
        tls_ports: Sequence[int] = (),
        certificate: Certificate | None = None,
        mail_domains: str = "",
    ) -> None:
        find("postfix")
        # Not below pytest's folder, which others than root may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.config, self.mail = self.folder / "config", self.folder / "mail" / "all"
        self._hostname, self._ports, self._tls_ports = hostname, [*ports, *tls_ports], tls_ports
        self._process: subprocess.Popen[bytes] | None = None
        self._make_folders()
        if certificate is not None:
            certificate.write(self.config)
        self._mail_domains, self._has_tls = mail_domains, certificate is not None
        self._settings = dict(settings)
        self._write_config()

    def set(self, name: str, value: str) -> None:
        """Change one setting of main.cf; a running Postfix sees it after `reload`."""
        self._settings[name] = value
        self._write_config()

    def table(self, name: str, rows: Mapping[str, str]) -> str:
        """Write a look-up table, and return what a setting calls it."""
        path = self.config / f"{name}.table"
        path.write_text("".join(f"{key} {value}\n" for key, value in rows.items()))
        return f"texthash:{path}"

    def wait_until_alone(self) -> None:
        """Wait until nobody is connected any more, since an open connection keeps the settings that it began with."""

        def is_alone() -> bool:
            log = self.log.read_text()
            return log.count("]: connect from ") == log.count("]: disconnect from ")

        wait_for(is_alone, "the end of all connections to Postfix", START_S)

    def reload(self) -> None:
        """Let new connections have the settings as they are now."""
        before = self.log.read_text().count("reload -- version")
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log.read_text().count("reload -- version") > before, "reload of Postfix", START_S)

    def _write_config(self) -> None:
        base = {
            "compatibility_level": "3.6",
            "queue_directory": str(self.folder / "queue"),
            "data_directory": str(self.folder / "data"),
            "command_directory": "/usr/sbin",
            "daemon_directory": str(DAEMONS),
            "meta_directory": "/etc/postfix",
            "shlib_directory": "/usr/lib/postfix",
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.folder),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": self._hostname,
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "disable_dns_lookups": "yes",
            "smtpd_peername_lookup": "no",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            "alias_maps": "",
            "alias_database": "",
            "local_transport": "error:there are no local users",
            "virtual_mailbox_domains": self._mail_domains,
            "virtual_mailbox_base": str(self.folder / "mail"),
            "virtual_mailbox_maps": "static:all/",
            "virtual_uid_maps": f"static:{_OTHER_USER}",
            "virtual_gid_maps": f"static:{_OTHER_USER}",
            # It tries again within seconds, so that no test has to wait for minutes.
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "1s",
            "queue_run_delay": "1s",
        }
        if self._has_tls:
            base |= {
                "smtpd_tls_cert_file": str(self.config / Certificate.CHAIN),
                "smtpd_tls_key_file": str(self.config / Certificate.KEY),
                "smtpd_tls_security_level": "may",
            }
        main = "".join(f"{name} = {value}\n" for name, value in {**base, **self._settings}.items())
        (self.config / "main.cf").write_text(main)
        # One process for each connection: after a reload no old one lingers with the old settings.
        smtpd = "inet n - n - - smtpd -o max_use=1"
        plain = "".join(f"127.0.0.1:{port} {smtpd}\n" for port in self._ports if port not in self._tls_ports)
        wrapped = "".join(f"127.0.0.1:{port} {smtpd} -o smtpd_tls_wrappermode=yes\n" for port in self._tls_ports)
        (self.config / "master.cf").write_text(plain + wrapped + _SERVICES.lstrip())

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Start, and wait until it can take mail on every port."""
        self._process = subprocess.Popen(
            [str(DAEMONS / "master"), "-c", str(self.config), "-d"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment,
        )  # fmt: skip
        wait_for(self._is_up, "start of Postfix", START_S)
        assert self._process.poll() is None, self.log.read_text()

    def stop(self) -> None:
        """Stop it and everything it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"Postfix did not stop within {STOP_S:g} s:\n{self.log.read_text()}") from None

    def send(self, message: bytes, *recipients: str, sender: str, options: Sequence[str] = ()) -> None:
        """Submit a message as a program on its machine does, by Postfix's own sendmail."""
        text = message.replace(b"\r\n", b"\n")
        self._run("sendmail", "-i", "-f", sender, *options, "--", *recipients, stdin=text)

    def queue(self) -> list[dict[str, Any]]:
        """What waits there: postqueue's rows."""
        return [json.loads(line) for line in self._run("postqueue", "-j").out.splitlines()]

    def delays(self) -> list[str]:
        """Why mail waits there, as the log of the queue says it."""
        return [one["delay_reason"] for row in self.queue() for one in row["recipients"] if "delay_reason" in one]

    def mailbox(self) -> list[bytes]:
        """All mail of `mail_domains`, oldest first, with the line ends of the wire."""
        new = self.mail / "new"
        paths = sorted(new.iterdir(), key=lambda path: path.stat().st_mtime_ns) if new.is_dir() else []
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in paths]

    def wait(self, marker: str, seconds: float = START_S) -> bytes:
        """Wait for the one message in the mailbox that contains the marker."""
        try:
            found: list[bytes] = wait_for(
                lambda: [message for message in self.mailbox() if marker.encode() in message],
                f"{marker!r} at Postfix", seconds,
            )  # fmt: skip
        except AssertionError as error:
            said = self.log.read_text()[-2000:] if self.log.exists() else "it has logged nothing"
            raise AssertionError(f"{error}; its log:\n{said}") from None
        assert len(found) == 1, f"{len(found)} messages with {marker!r}"
        return found[0]

    def __enter__(self) -> Postfix:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder)

    @property
    def _environment(self) -> dict[str, str]:
        return {"MAIL_CONFIG": str(self.config), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "TZ": "UTC"}

    def _run(self, program: str, *arguments: str, stdin: bytes = b"") -> Done:
        return run(program, *arguments, home=self.folder, stdin=stdin, environment=self._environment)

    def _is_up(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True  # `start` tells what its log says
        return (self.folder / "queue" / "public" / "showq").exists() and all(answers(port) for port in self._ports)

    def _make_folders(self) -> None:
        os.chmod(self.folder, 0o755)
        for name in ("config", "data", "mail", "queue", "queue/pid"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", _OTHER_USER, _OTHER_USER)
        for name, mode in {**dict.fromkeys(_PRIVATE, 0o700), **_DROPS}.items():
            path = self.folder / "queue" / name
            path.mkdir()
            shutil.chown(path, "postfix", "postdrop" if name in _DROPS else None)
            os.chmod(path, mode)


_OTHER_USER = 65534  # nobody: whose the Maildir is


def without_delivery_fields(message: bytes) -> bytes:
    """The message without what Postfix's delivery agent puts in front of it."""
    while message.startswith((b"Return-Path:", b"X-Original-To:", b"Delivered-To:")):
        message = message.partition(b"\r\n")[2]
    return message
