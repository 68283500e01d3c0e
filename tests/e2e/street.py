"""Appliances on a street: each in a network namespace of its own, joined by bridges whose ports can be unplugged."""

from __future__ import annotations

import contextlib
import ctypes
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.appliance_process import PASSWORD, ROOT, wait_for

T = TypeVar("T")

PATIENCE_S = 90.0
_CLONE_NEWNET = 0x40000000  # linux/sched.h


@dataclass
class House:
    """One machine. `addresses` are by the bridge that it is on; `config` is its palomar.toml."""

    name: str
    folder: Path
    addresses: Mapping[str, str]
    config: str = ""
    pid: int = 0  # of the process that holds its namespace
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text() if path.exists() else ""

    def begin(self) -> None:
        """Start its appliance."""
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [*_enter(self.pid), sys.executable, "-m", "appliance", "--config", str(self._toml), "run"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip

    def await_port(self, port: int = 25) -> None:
        """Wait until it answers at a port."""

        def answers() -> bool:
            assert self.process is None or self.process.poll() is None, f"{self.name} ended:\n{self.log[-3000:]}"
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        self.inside(lambda: wait_for(answers, f"{self.name} answers at port {port}", PATIENCE_S))

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop its appliance."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def command(self, *arguments: str, stdin: str = "") -> str:
        """Run one `palomar` command in its namespace and return what it says."""
        done = subprocess.run(
            [*_enter(self.pid), sys.executable, "-m", "appliance", "--config", str(self._toml), *arguments],
            input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"palomar {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json"))

    def add_accounts(self, *names: str) -> None:
        """Make accounts with one password, before its appliance starts."""
        for name in names:
            self.command("account", "add", name, "--password-stdin", stdin=PASSWORD + "\n")

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in its network: a thread goes there, with whatever sockets it makes."""
        future: Future[T] = Future()

        def thread() -> None:
            try:
                with open(f"/proc/{self.pid}/ns/net", "rb") as namespace:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        running = threading.Thread(target=thread, daemon=True)
        running.start()
        return future.result(3 * PATIENCE_S)

    @property
    def _toml(self) -> Path:
        return self.folder / "palomar.toml"


@dataclass
class Street:
    """All houses and bridges. The namespaces have no names, so that two streets at once do not meet."""

    folder: Path
    houses: dict[str, House] = field(default_factory=dict)
    _holders: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _bridges: dict[str, int] = field(default_factory=dict)

    def bridge(self, name: str) -> None:
        """A switch, in a namespace of its own."""
        self._bridges[name] = self._namespace("ip link add name switch type bridge && ip link set switch up")

    def house(self, name: str, *, config: str = "", zone: str = "", **addresses: str) -> House:
        """A machine with an address on each of these bridges; the names in `zone` are below test."""
        folder = self.folder / name
        folder.mkdir()
        house = House(name, folder, addresses, config)
        house.pid = self._namespace("ip link set lo up")
        for number, (bridge, address) in enumerate(addresses.items()):
            switch = self._bridges[bridge]
            _run(switch, f"ip link add name {name} type veth peer name eth{number} netns {house.pid}")
            _run(switch, f"ip link set {name} master switch up")
            _run(house.pid, f"ip addr add {address}/24 dev eth{number}")
            _run(house.pid, f"ip link set eth{number} up")
        if config:
            (folder / "zone").write_text(f"$ORIGIN test.\n$TTL 60\n{zone}")
            (folder / "palomar.toml").write_text(config)
        self.houses[name] = house
        return house

    @contextlib.contextmanager
    def unplugged(self, house: House, bridge: str) -> Iterator[None]:
        """Pull the cable of a machine for a while."""
        _run(self._bridges[bridge], f"ip link set {house.name} down")
        try:
            yield
        finally:
            _run(self._bridges[bridge], f"ip link set {house.name} up")

    def close(self) -> None:
        """End everything."""
        for house in self.houses.values():
            if house.process is not None:
                house.process.send_signal(signal.SIGTERM)
        try:
            for house in self.houses.values():
                house.end()
        finally:
            for holder in self._holders:
                holder.kill()
                holder.wait()

    def _namespace(self, script: str) -> int:
        """A namespace; it lives as long as the process that holds it, which ends when this one does."""
        command = ["unshare", "--net", "sh", "-c", f"{script} && echo ready && exec cat"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        return holder.pid


def _enter(pid: int) -> list[str]:
    return ["nsenter", "--net", "--target", str(pid)]


def _run(pid: int, command: str) -> None:
    done = subprocess.run([*_enter(pid), *command.split()], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def side_by_side(*work: Callable[[], object]) -> None:
    """Do several things at once, and raise the first failure."""
    futures: list[Future[object]] = []
    for one in work:
        future: Future[object] = Future()
        futures.append(future)
        threading.Thread(target=_settle, args=(future, one), daemon=True).start()
    for future in futures:
        future.result(3 * PATIENCE_S)


def _settle(future: Future[object], work: Callable[[], object]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
