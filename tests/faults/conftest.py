"""One appliance for all hostile input, the clients that behave beside it, and a look at its log after each test.

Another, the office, has a way to other people's domains: what it sends to outside.test arrives at the next hop.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.appliance_process import ACCOUNTS
from tests.faults.nexthop import NextHop
from tests.faults.target import LENIENT, Target
from tests.faults.watch import Watch

GROWTH_MIB = 48  # of memory in one test, unless its module says otherwise
MOST_MIB = 192  # of memory ever

# Short waits, and limits that can be reached: a test of a slow peer need not be slow itself. But not so short that
# the clients that behave come too late when the machine is busy.
MOST = 150  # connections of one kind of port
MOST_PER_PEER = 60
LIMITS = f"max_per_peer = {MOST_PER_PEER}\nmax_connections = {MOST}\n"
IMPATIENT = {
    "auth": "failure_delay = 0.0\n",
    "smtp": "command_timeout = 5\ndata_timeout = 5\ndata_deadline = 12\n" + LIMITS,
    "imap4": "login_timeout = 5\nappend_timeout = 5\n" + LIMITS,
    "pop3": "login_timeout = 5\n" + LIMITS,
}


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The appliance that is abused."""
    made = Target(tmp_path_factory.mktemp("target"), tables=IMPATIENT | LENIENT)
    made.add_accounts(*ACCOUNTS)
    with made:
        yield made


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def hop() -> Iterator[NextHop]:
    """Where mail for outside.test arrives."""
    with NextHop() as made:
        yield made


@pytest.fixture(scope="package")
def office(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[Target]:
    """An appliance whose mail for outside.test leaves to the next hop, and for refusing.test finds nobody there."""
    made = Target(
        tmp_path_factory.mktemp("office"),
        zone="outside MX 10 mx.outside\nmx.outside A 127.0.0.1\nrefusing MX 0 .\n",
        tables={"relay": f"port = {hop.port}\ntls = 'off'\n", "auth": "failure_delay = 0.0\n", **LENIENT},
    )
    made.add_accounts(*ACCOUNTS)
    with made:
        yield made
