"""A network of the test's own: namespaces for the board and its routers, cables between, dnsmasq at the far end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hw.messages import ClientMessage, Hello, State, encode, server_messages
from tests.hw.netns.cable import Cable, Peer, Tap

ROOT = Path(__file__).parents[3]
ROUTER = "ip link set lo up; sysctl -qw net.ipv6.conf.all.forwarding=1"
ROUTER_V4 = "10.9.{n}.1"


class Namespaces:
    """Namespaces live as long as the processes that hold them; `close` ends all that were started here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cables: list[Cable] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def namespace(self, script: str) -> int:
        """A new one, after a shell script ran in it; the process that holds it."""
        script += "; echo ready; exec sleep 3600"
        process = subprocess.Popen(["unshare", "-n", "-m", "-u", "sh", "-c", script], stdout=subprocess.PIPE)
        self._started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    def within(self, pid: int, *command: str, check: bool = True, seconds: float = 30) -> str:
        """Run a command in a namespace, and return what it says."""
        done = subprocess.run(_enter(pid, command), capture_output=True, text=True, check=False, timeout=seconds)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def background(self, pid: int, *command: str, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            process = subprocess.Popen(_enter(pid, command), stdout=output, stderr=output, cwd=ROOT)
        self._started.append(process)
        return process

    def dnsmasq(self, pid: int, *options: str, port: int = 0) -> subprocess.Popen[bytes]:
        """Serve DHCP, router advertisements, and DNS on `port` (0: none) on the interface lan0 of a namespace."""
        common = ["dnsmasq", "-k", f"-p{port}", "--conf-file=/dev/null", "--interface=lan0", "--bind-interfaces"]
        common += ["--user=root", "--no-ping", "--log-dhcp", f"--dhcp-leasefile={self.folder}/leases-{pid}"]
        common += ["--log-facility=-", "--dhcp-authoritative"]
        return self.background(pid, *common, *options, log="dnsmasq.log")

    def address(self, pid: int, number: int) -> None:
        """Give a router its addresses on lan0."""
        for command in (
            # No waiting for duplicates at this end: dnsmasq could not bind meanwhile.
            "sysctl -qw net.ipv6.conf.lan0.accept_dad=0",
            f"ip addr add {ROUTER_V4.format(n=number)}/24 dev lan0",
            f"ip addr add fd00:{number + 9}::1/64 dev lan0",
            "ip link set lan0 up",
        ):
            self.within(pid, *command.split())

    def close(self) -> None:
        """End everything."""
        for cable in self.cables:
            cable.close()
        for process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()


class Lab(Namespaces):
    """A namespace with palomar-hw, and its routers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.box = self.namespace("mount -t sysfs sysfs /sys; ip link set lo up")
        self.config = folder / "palomar.toml"
        self.config.write_text('hostname = "box.example.org"\n[network]\n')
        self.hw: subprocess.Popen[bytes] | None = None

    # ── routers and cables ────────────────────────────────────────────────────────────────────────────────────────

    def router(self, number: int = 0) -> int:
        """A router at the other end of the board's interface eth<number>, with an address, without a DHCP server."""
        pid = self.namespace(ROUTER)
        self.within(self.box, *f"ip link add eth{number} type veth peer name lan0 netns {pid}".split())
        self.address(pid, number)
        return pid

    def bad_line(self, loss: float, number: int = 0) -> tuple[int, Cable]:
        """A router as above, and the cable to it, which loses packets."""
        pid = self.namespace(ROUTER)
        near, far = Peer(f"pal{os.getpid()}-{number}", self.box, f"eth{number}"), Tap(f"tap{os.getpid()}-{number}")
        far.move(pid, "lan0")
        cable = Cable(far, near, loss=loss, seed=number)
        self.cables.append(cable)
        self.address(pid, number)
        return pid, cable

    def cable(self, pid: int, *, plugged: bool) -> None:
        self.within(pid, "ip", "link", "set", "lan0", "up" if plugged else "down")

    def route_of(self, destination: str, link: str, seconds: float = 30.0) -> str:
        """The board's way to a destination, once it leads by that link; else how it leads in the end."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.within(self.box, "ip", "route", "get", destination)
            if f"dev {link} " in found or time.monotonic() > deadline:
                return found
            select.select([], [], [], 0.2)

    # ── the board ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Watch:
        python = sys.executable
        data, run = self.folder / "data", self.folder / "run"
        data.mkdir(exist_ok=True)
        arguments = [f"--config={self.config}", f"--data={data}", f"--run={run}"]
        self.hw = self.background(self.box, python, "-m", "hw", *arguments, log="hw.log")
        return Watch(run / "hw.sock", self._say)

    def _say(self) -> str:
        return "".join(
            path.read_text() for path in (self.folder / "hw.log", self.folder / "dnsmasq.log") if path.exists()
        )


def _enter(pid: int, command: Sequence[str]) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n", "-m", "-u", "--wd=" + os.getcwd(), *command]


class Watch:
    """A client of palomar-hw's socket."""

    def __init__(self, path: Path, say: Callable[[], str]) -> None:
        self._say = say
        self._messages = server_messages()
        self._socket = socket.socket(socket.AF_UNIX)
        self.state: State | None = None
        deadline = time.monotonic() + 20
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                assert time.monotonic() < deadline, say()
                select.select([], [], [], 0.02)
        self.send(Hello(role="mail"))

    def send(self, message: ClientMessage) -> None:
        self._socket.sendall(encode(message))

    def until(self, what: Callable[[State], object], seconds: float = 30.0) -> State:
        """The first state that fits, the present one included. Fails with the logs after that many seconds."""
        deadline = time.monotonic() + seconds
        while self.state is None or not what(self.state):
            left = deadline - time.monotonic()
            assert left > 0, f"{self.state}\n{self._say()}"
            if not select.select([self._socket], [], [], left)[0]:
                continue
            data = self._socket.recv(65536)
            assert data, self._say()
            self._messages.receive(data)
            while (message := self._messages.next_message()) is not None:
                assert isinstance(message, State), message
                self.state = message
                if what(message):
                    return message
        return self.state

    def never(self, what: Callable[[State], object], seconds: float) -> State | None:
        """Watch for so long; the first state that is so after all, else None."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                self._messages.receive(self._socket.recv(65536))
                while (message := self._messages.next_message()) is not None:
                    assert isinstance(message, State), message
                    self.state = message
                    if what(message):
                        return message
        return None

    def close(self) -> None:
        self._socket.close()


def addresses(state: State, source: str, nic: str = "eth0") -> list[str]:
    return [one.address for one in state.addresses if one.source == source and one.nic == nic and one.usable]


def active(state: State) -> str:
    return next((one.nic for one in state.uplinks if one.active), "")
