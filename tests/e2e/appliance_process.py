"""The appliance as a process of its own, on free loopback ports, for real clients and servers to speak to."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from appliance.controlclient import SocketControl
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
START_S = 90.0
STOP_S = 60.0
PASSWORD = "correct horse"
HOSTNAME = "mail.palomar.test"
ACCOUNTS = ("ana@palomar.test", "luis@palomar.test")

PORTS = ("mx", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")


@dataclass(frozen=True)
class Certificate:
    """A certificate with its issuers and its private key, both in PEM."""

    CHAIN: ClassVar = "chain.pem"
    KEY: ClassVar = "key.pem"

    chain: bytes
    key: bytes

    def write(self, folder: Path) -> None:
        """Put both files there, each whole at once, the key first as a careful administrator would."""
        for name, text in ((self.KEY, self.key), (self.CHAIN, self.chain)):
            new = folder / f".{name}"
            new.touch(mode=0o600)
            new.write_bytes(text)
            new.rename(folder / name)


def wait_for(condition: Any, what: str, seconds: float = 90.0) -> Any:
    """Poll until `condition()` is true and return what it returned; fail in words after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Appliance:
    """One appliance.

    `extra` is TOML that follows the settings made here, `inside` lines for the tables of that name among them, `top`
    lines above the first table, `zone` the lines of the zone file below $ORIGIN test.
    """

    folder: Path
    top: str = ""
    extra: str = ""
    zone: str = ""
    inside: dict[str, str] = field(default_factory=dict)
    certificate: Certificate | None = None
    lmtp_folder: Path | None = None  # instead of `folder`
    environment: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.ports:
            self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.write_config()

    @property
    def config(self) -> Path:
        return self.folder / "palomar.toml"

    @property
    def lmtp(self) -> Path:
        """The socket where other servers hand over mail by LMTP."""
        return (self.lmtp_folder or self.folder) / "lmtp.sock"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def write_config(self) -> None:
        """Write the files anew, before a start or a reload."""
        at = {name: f'["127.0.0.1:{port}"]' for name, port in self.ports.items()}
        (self.folder / "zone").write_text("$ORIGIN test.\n$TTL 60\n" + self.zone)
        tables = {
            "auth": "failure_delay = 0.1",
            "log": 'format = "text"',
            "dns": 'zone_file = "zone"',
            "store": "reserve_mib = 1",
            "tls": self._tls(),
            "smtp": f"""\
mx = {at["mx"]}
submission = {at["submission"]}
submissions = {at["submissions"]}
lmtp = ["unix:{self.lmtp}"]""",
            "imap4": f"listen = {at['imap']}\nlisten_tls = {at['imaps']}",
            "pop3": f"listen = {at['pop3']}\nlisten_tls = {at['pop3s']}",
        }
        named = set(tables) | set(self.inside)
        text = "".join(f"[{name}]\n{tables.get(name, '')}\n{self.inside.get(name, '')}\n\n" for name in sorted(named))
        top = f'hostname = "{HOSTNAME}"\ndomains = ["palomar.test"]\ndata = "data"\n{self.top}\n\n'
        self.config.write_text(f"{top}{text}{self.extra}\n")

    def _tls(self) -> str:
        if self.certificate is None:
            return ""
        self.certificate.write(self.folder)
        return f'certificate = "{Certificate.CHAIN}"\nkey = "{Certificate.KEY}"'

    def command(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one `palomar` command."""
        done = self._child("-m", "appliance", "--config", str(self.config), *arguments, stdin=stdin)
        if check and done.returncode != 0:
            raise AssertionError(f"palomar {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    @staticmethod
    def _child(*arguments: str, stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            input=stdin, capture_output=True, text=True, timeout=90, cwd=ROOT, check=False,
        )  # fmt: skip

    def ask(self, *arguments: str) -> Any:
        """Run one command with --json and return what it says."""
        return json.loads(self.command(*arguments, "--json").stdout)

    @property
    def queued(self) -> list[dict[str, Any]]:
        """The entries of its queue, as `queue list` shows them; while it runs, no command has to start for it."""
        if self._ended():
            found: list[dict[str, Any]] = self.ask("queue", "list")
            return found
        # At a start the socket comes up after the ports.
        with closing(wait_for(lambda: SocketControl.connect(self.folder / "data"), "its control socket")) as control:
            pages = control.stream("queue.list", where={"everything": True}, limit=1000)
            return [entry for page in pages for entry in page]

    def add_accounts(self, *names: str, password: str = PASSWORD) -> None:
        """Make accounts with one password."""
        done = self._child("-m", "tests.e2e.add_accounts", str(self.config), *names, stdin=password + "\n")
        assert done.returncode == 0, done.stdout + done.stderr

    def deliver(self, message: bytes, *recipients: str, sender: str = "ines@example.org") -> None:
        """Bring mail from outside, as another server would."""
        options = [] if message.isascii() else ["BODY=8BITMIME"]
        with smtplib.SMTP("127.0.0.1", self.ports["mx"], timeout=60) as smtp:
            assert smtp.sendmail(sender, list(recipients or ACCOUNTS[:1]), message, options) == {}

    def start(self) -> None:
        """Start, and wait until every port answers, and the control socket, which comes up after them."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "appliance", "--config", str(self.config), "run"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **self.environment},
            )  # fmt: skip
        wait_for(lambda: self._ended() or self._serves(), "start", START_S)
        if self._ended():
            raise AssertionError(f"the appliance ended at once:\n{self.log.read_text()}")

    def _serves(self) -> bool:
        if not all(answers(port) for port in self.ports.values()):
            return False
        control = SocketControl.connect(self.folder / "data")
        if control is not None:
            control.close()
        return control is not None

    def stop(self) -> int:
        """Stop in order (SIGTERM) and return the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it in the middle of whatever it does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def reload(self) -> None:
        """SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it did not stop within {STOP_S:g} s:\n{self.log.read_text()[-3000:]}") from None

    def __enter__(self) -> Appliance:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
