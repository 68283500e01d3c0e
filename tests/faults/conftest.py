"""One appliance for all hostile input, the clients that behave beside it, and a look at its log after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.appliance_process import ACCOUNTS, Appliance
from tests.faults.watch import Watch

GROWTH_MIB = 48  # of memory in one test, unless its module says otherwise
MOST_MIB = 192  # of memory ever

# Short waits, and limits that can be reached: a test of a slow peer need not be slow itself.
IMPATIENT = """
[auth]
failure_delay = 0.0
"""
SMTP = "command_timeout = 3\ndata_timeout = 3\ndata_deadline = 6\nmax_per_peer = 60\nmax_connections = 150\n"
IMAP = "login_timeout = 3\nappend_timeout = 3\nmax_per_peer = 60\nmax_connections = 150\n"
POP3 = "login_timeout = 3\nmax_per_peer = 60\nmax_connections = 150\n"


class Target(Appliance):
    """An appliance whose roles are given further settings."""

    roles: tuple[tuple[str, str], ...] = (("smtp", SMTP), ("imap4", IMAP), ("pop3", POP3))

    def write_config(self) -> None:
        super().write_config()
        text = self.config.read_text()
        for role, settings in self.roles:
            text = text.replace(f"[{role}]\n", f"[{role}]\n{settings}")
        self.config.write_text(text)


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The appliance that is abused."""
    made = Target(tmp_path_factory.mktemp("target"), extra=IMPATIENT)
    made.add_accounts(*ACCOUNTS)
    with made:
        yield made


@pytest.fixture(scope="session")
def watch(target: Target) -> Iterator[Watch]:
    made = Watch(target)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def abused(request: pytest.FixtureRequest, target: Target, watch: Watch) -> Iterator[Target]:
    """The target. After the test: nobody else noticed, memory is bounded, and nothing crashed inside."""
    logged = target.log.stat().st_size
    with watch.undisturbed(getattr(request.module, "GROWTH_MIB", GROWTH_MIB)):
        yield target
    said = target.log.read_bytes()[logged:].decode(errors="replace")
    assert "Traceback" not in said, said[-3000:]
    assert watch.most < MOST_MIB << 20, f"{watch.most >> 20} MiB of memory"
