"""The two sides of a comparison: Palomar, and Postfix + Dovecot with their own defaults. Both on loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from appliance import selfsigned
from appliance.auth.credentials import ARGON2ID, make_credentials
from appliance.store.index import BODIES
from tests.bench import generators, rspamd

generators.require()

import common  # noqa: E402
import peers  # noqa: E402

USERS: list[str] = peers.USERS
PASSWORD: str = peers.PASSWORD
DOMAIN: str = peers.DOMAIN
ROLES = ("door", "srs", "mda", "smtp", "imap4", "pop3", "smarthost", "relay")  # the filters have rows of their own
START_S = 60
SETTLE_S = 4  # both sides finish what they do after a start


class Side(Protocol):
    """One mail system under test. Figures about its processes cover all of them."""

    name: str
    smtp: int
    imap: int
    pop3: int
    relay_to: int

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def roots(self) -> list[int]: ...


class Palomar:
    """This repository's appliance, from its own environment."""

    name = "palomar"
    smtp, imap, imaps, pop3, relay_to = 4525, 4143, 4993, 4110, 4600

    def __init__(
        self,
        folder: Path,
        *,
        relay: bool = False,
        compress: bool = True,
        filters: bool = False,
        slow_us: int | None = None,
        crowd: int | None = None,
        relay_port: int = 25,
        zone: Mapping[str, str] | None = None,
    ) -> None:
        """With `filters`, those that are on by default look at mail from this machine as at a stranger's.

        `crowd` is how many connections of a kind it takes, IMAP over TLS too; `zone` the hosts that there are, by
        domain, instead of DNS, to which it delivers at `relay_port`.
        """
        self.folder = folder
        self._crowd = crowd
        self._filters = filters
        self._relay_port = relay_port
        self._zone = {"sender.test": "127.0.0.1"} if filters else zone
        self._relay = relay
        self._compress = compress
        self._slow_us = slow_us
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make accounts at the first start, then run until the ports answer."""
        if not (self.folder / "palomar.toml").exists():
            self.prepare()
        environment = dict(os.environ)
        if self._slow_us is not None:
            shared = self.folder / "slowsync.shm"
            environment |= {
                "LD_PRELOAD": peers.slowsync(),
                "SLOWSYNC_US": str(self._slow_us),
                "SLOWSYNC_SHM": str(shared),
            }
        command = [sys.executable, "-m", "appliance", "--config", str(self.folder / "palomar.toml"), "run"]
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=generators.ROOT
            )
        for port in (self.smtp, self.imap, self.pop3):
            common.wait_port("127.0.0.1", port, START_S)
        if self._process.poll() is not None:  # then another one answers
            raise SystemExit(f"{self.name} has ended at its start; see {self.folder / 'log.txt'}")

    def stop(self) -> None:
        """End it as the system would, and wait."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    def wait_for_index(self, seconds: float = 180) -> None:
        """Wait until the search index holds all but the last few messages."""
        until = time.monotonic() + seconds
        data = self.folder / "data"
        while time.monotonic() < until:
            indexed = _number(data / "index.db", "SELECT ifnull(max(last_body), 0) FROM block")
            if indexed + BODIES > _number(data / "mail.db", "SELECT ifnull(max(id), 0) FROM body"):
                return
            time.sleep(0.5)
        raise RuntimeError(f"the search index is not made within {seconds:g} s")

    def roots(self) -> list[int]:
        """The process ids whose trees count."""
        return [self._process.pid] if self._process is not None else []

    def prepare(self) -> None:
        """Write the configuration and make the accounts."""
        self.folder.mkdir(parents=True)
        (self.folder / "palomar.toml").write_text(f"""\
hostname = "mail.example.test"
domains = ["{DOMAIN}"]
data = "data"
relay_networks = {[] if self._filters else ["127.0.0.0/8"]}
{"" if self._filters else f"plugins = {list(ROLES)}"}

[store]
compress = {str(self._compress).lower()}

[log]
level = "warning"

[smtp]
mx = ["127.0.0.1:{self.smtp}"]
submission = []
submissions = []
lmtp = []
max_connections = {self._crowd or 1000}
max_per_peer = {self._crowd or 100}
stress_percent = {0 if self._crowd else 80}

[imap4]
listen = ["127.0.0.1:{self.imap}"]
listen_tls = {[f"127.0.0.1:{self.imaps}"] if self._crowd else []}
max_connections = {self._crowd or 1000}
max_per_peer = {self._crowd or 1000}

[pop3]
listen = ["127.0.0.1:{self.pop3}"]
listen_tls = []
""")
        if self._relay:
            with (self.folder / "palomar.toml").open("a") as file:
                file.write(
                    f'\n[[smarthost.hosts]]\nname = "sink"\nhost = "127.0.0.1"\nport = {self.relay_to}\ntls = "off"\n'
                )
        if self._zone is not None:
            (self.folder / "zone").write_text(
                "$ORIGIN .\n$TTL 60\n" + "".join(f"{domain} A {ip}\n" for domain, ip in self._zone.items())
            )
            with (self.folder / "palomar.toml").open("a") as file:
                file.write(f'\n[dns]\nzone_file = "zone"\n\n[relay]\nport = {self._relay_port}\n')
        asyncio.run(_make_accounts(self.folder / "palomar.toml"))


def _number(path: Path, query: str) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # there is no file or no table yet
        return 0


async def _make_accounts(config: Path) -> None:
    from appliance.app import load, opened
    from appliance.store.accounts import create_account

    credentials = make_credentials(PASSWORD)
    async with opened(load(config)) as core:
        for user in USERS:
            await core.store.write(lambda db, user=user: create_account(db, user, credentials))


class PostfixDovecot(peers.PostfixDovecot):  # type: ignore[misc]
    """The peers with the same password hash as ours, argon2id, t=2, m=19 MiB, and the same kind of certificate.

    With `rspamd`, Debian's Rspamd looks at every message as a milter.
    """

    rspamd = False

    def write(self) -> None:
        """Their configuration, with a password file instead of one static password."""
        super().write()
        hashed = dict(make_credentials(PASSWORD))[ARGON2ID].decode()
        users = Path(self.base) / "users"
        users.write_text("".join(f"{user}:{{ARGON2ID}}{hashed}::::::\n" for user in USERS))
        users.chmod(0o644)
        config = Path(self.base) / "dovecot.conf"
        text = config.read_text()
        static = f"passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}"
        if static not in text:
            raise SystemExit("the peer's configuration has changed; its password block was not found")
        config.write_text(text.replace(static, f"passdb {{\n  driver = passwd-file\n  args = {users}\n}}"))
        self._offer_tls()
        if self.rspamd:
            self.set_up(smtpd_milters=f"inet:127.0.0.1:{rspamd.PORT}", milter_default_action="tempfail")

    def start(self) -> None:
        """Start them, Rspamd before Postfix asks it."""
        if self.rspamd:
            self.procs.append(rspamd.start(Path(self.base) / "rspamd"))
        super().start()

    def _offer_tls(self) -> None:
        folder = Path(self.base) / "tls"
        selfsigned.make(folder, ["mail.example.test"], datetime.datetime.now(datetime.UTC))
        self.set_up(
            smtpd_tls_security_level="may",
            smtpd_tls_cert_file=str(folder / selfsigned.CERTIFICATE),
            smtpd_tls_key_file=str(folder / selfsigned.KEY),
        )

    def set_up(self, **settings: str) -> None:
        """Change settings of Postfix, which has to be told if it runs."""
        folder = f"{self.base}/postfix"
        peers.sh("postconf", "-c", folder, "-e", *[f"{name}={value}" for name, value in settings.items()])


def peer(folder: Path, kind: str, *, relay: bool = False, slow_us: int | None = None, with_rspamd: bool = False) -> Any:
    """Postfix + Dovecot delivering into `maildir` or `mdbox`; data lies in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    made = PostfixDovecot(str(folder / "cfg"), str(folder / "data"), kind, relay=relay)
    made.slow_us = slow_us
    made.rspamd = with_rspamd
    os.umask(0o022)
    return made


@contextlib.contextmanager
def running(*sides: Any) -> Any:
    """Start the sides, stop them whatever happens."""
    try:
        for side in sides:
            side.start()
        time.sleep(SETTLE_S)
        yield
    finally:
        for side in reversed(sides):
            side.stop()
