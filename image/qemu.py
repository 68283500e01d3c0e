"""Start the card's image in QEMU: `virt` (quick) and `raspi3b` (the Pi's own SD controller and USB), both by U-Boot.

QEMU and its parts come from the tool root of the image build. Everything of the guest that is reachable from here is
forwarded from free loopback ports. The serial console is read as it comes, so that a test can wait for words.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from appliance.errors import ApplianceError
from image.build.toolroot import ToolRoot

CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = CHECKOUT / "build/image/latest/tools/root"
BUILT = CHECKOUT / "build/image/latest"

Board = Literal["virt", "raspi3b"]

MAIL_PORTS: Mapping[str, int] = {
    "smtp": 25,
    "submission": 587,
    "submissions": 465,
    "imap": 143,
    "imaps": 993,
    "pop3": 110,
    "pop3s": 995,
}
_LAST_LINES = 25


class GuestError(ApplianceError):
    """The guest did not do what was waited for. The text ends with the console's last lines."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a guest is started."""

    disk: str
    """A raw image's path, or an address that QEMU's block layer knows (`nbd+unix:///…`)."""
    board: Board = "virt"
    memory_mib: int = 1024
    processors: int = 2
    ports: Mapping[str, int] = field(default_factory=lambda: MAIL_PORTS)
    rtc: str = ""
    """QEMU's `-rtc base=`; empty for the host's time."""
    arguments: Sequence[str] = ()
    restrict: bool = True
    """Whether the guest is kept from everything outside, the host included, but for the forwarded ports."""


class Guest:
    """A running QEMU. A context manager: at its end the guest is killed, as if the plug were pulled."""

    def __init__(self, setup: Setup, folder: Path, tools: Path = TOOLS) -> None:
        """`folder` is for the control socket and the console's log. The guest starts at once."""
        self.setup = setup
        self.ports = {name: _free_port() for name in setup.ports}
        """Service → port on 127.0.0.1."""
        self.console_log = folder / "console.log"
        self.started_at = time.monotonic()
        self._folder = folder
        self._monitor_path = folder / "qmp.sock"
        self._text = ""
        self._heard = threading.Condition()
        self._ended = False
        command = tied(*ToolRoot(tools).command("qemu-system-aarch64", *self._arguments(tools)))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # ── the console ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def console(self) -> str:
        """Everything that the serial console said so far."""
        with self._heard:
            return self._text

    def expect(self, pattern: str, timeout_s: float, *, start: int = 0) -> re.Match[str]:
        """Wait until the console says something. Raises GuestError after `timeout_s`, or when QEMU ends."""
        deadline = time.monotonic() + timeout_s
        with self._heard:
            while True:
                if match := re.compile(pattern).search(self._text, start):
                    return match
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    why = "QEMU ended" if self._ended else f"nothing like {pattern!r} within {timeout_s:g} s"
                    raise GuestError(f"{why}\n{self._last_lines()}")
                self._heard.wait(left)

    def type(self, text: str) -> None:
        """Write to the serial console."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    # ── the services ──────────────────────────────────────────────────────────────────────────────────────────────

    def banner(self, service: str, timeout_s: float) -> bytes:
        """Wait for a service's greeting line. Raises GuestError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise GuestError(f"QEMU ended with {self._process.returncode}\n{self._last_lines()}")
            left = max(0.1, deadline - time.monotonic())
            # The forwarder accepts at once, and closes when the guest refuses.
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.ports[service]), left) as sock,
            ):
                sock.settimeout(min(left, 20.0))
                if line := sock.makefile("rb").readline():
                    return line
            time.sleep(0.2)
        raise GuestError(f"no greeting of {service} within {timeout_s:g} s\n{self._last_lines()}")

    def plug_in_usb_network(self) -> None:
        """Give a `raspi3b` its network: an adapter on the USB. To be called once U-Boot has left the USB alone.

        QEMU's model of the controller does not do the reset that the kernel's driver asks for (GRSTCTL.CSFTRST), so
        the kernel never hears of what U-Boot has seen there before: HPRT0.CONNDET stays clear. A Pi's own does it.
        """
        self.ask("device_add", driver="usb-net", netdev="net")

    # ── QMP ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, command: str, **arguments: Any) -> Any:
        """One command of QEMU's machine protocol; returns its result. Raises GuestError."""
        with self._monitor() as monitor:
            request = {"execute": command} | ({"arguments": arguments} if arguments else {})
            monitor.write(json.dumps(request).encode() + b"\n")
            monitor.flush()
            for line in monitor:
                answer = json.loads(line)
                if "error" in answer:
                    raise GuestError(f"{command}: {answer['error'].get('desc')}")
                if "return" in answer:
                    return answer["return"]
        raise GuestError(f"{command}: no answer")

    def written_bytes(self) -> int:
        """Octets that the guest has written to its disk since it started."""
        return sum(int(drive["stats"]["wr_bytes"]) for drive in self.ask("query-blockstats"))

    @contextlib.contextmanager
    def _monitor(self) -> Iterator[Any]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20.0)
            sock.connect(str(self._monitor_path))
            stream = sock.makefile("rwb")
            stream.readline()  # the greeting
            stream.write(b'{"execute": "qmp_capabilities"}\n')
            stream.flush()
            stream.readline()
            yield stream

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def running(self) -> bool:
        """Whether QEMU is there."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Wait for QEMU's own end and return its code. Raises GuestError."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the guest did not end within {timeout_s:g} s\n{self._last_lines()}") from None
        self._listener.join()
        return code

    def kill(self) -> None:
        """Pull the plug."""
        if self.running:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _arguments(self, tools: Path) -> list[str]:
        setup = self.setup
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{self.ports[name]}-:{port}" for name, port in setup.ports.items())
        network = f"user,id=net{',restrict=on' if setup.restrict else ''}{forwards}"
        drive = f"if=none,id=card,file={setup.disk},format=raw,cache=writeback,discard=unmap"
        common = [
            *("-L", str(tools / "usr/share/qemu"), "-nodefaults", "-display", "none", "-no-reboot"),
            *("-accel", "tcg,thread=multi", "-smp", str(setup.processors), "-m", str(setup.memory_mib)),
            # The Pi's console is its second port, the mini-UART.
            *(("-serial", "null") if setup.board == "raspi3b" else ()),
            *("-serial", "stdio"),
            *("-qmp", f"unix:{self._monitor_path},server=on,wait=off"),
            *("-netdev", network),
            *(("-rtc", f"base={setup.rtc}") if setup.rtc else ()),
        ]
        return [
            *common,
            *(_virt(tools, drive) if setup.board == "virt" else _raspi3b(tools, setup, self._folder)),
            *setup.arguments,
        ]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self.console_log.open("wb") as log:
            while data := os.read(self._process.stdout.fileno(), 65536):
                log.write(data)
                log.flush()
                with self._heard:
                    self._text += data.decode("utf-8", "replace")
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def _last_lines(self) -> str:
        return "\n".join(f"    | {line.rstrip()}" for line in self._text.splitlines()[-_LAST_LINES:])


def tied(*command: str) -> list[str]:
    """The words that run a program which the kernel kills when the thread that started it ends, however that ends.

    It has a session of its own, so that Ctrl-C is left to Python; nobody would end it after a SIGTERM or SIGKILL.
    """
    return ["setpriv", "--pdeathsig", "KILL", *command]


def _virt(tools: Path, drive: str) -> list[str]:
    return [
        *("-M", "virt", "-cpu", "cortex-a72"),
        *("-bios", str(tools / "usr/lib/u-boot/qemu_arm64/u-boot.bin")),
        *("-drive", drive, "-device", "virtio-blk-pci,drive=card"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
    ]


def _raspi3b(tools: Path, setup: Setup, folder: Path) -> list[str]:
    """The model has 1 GiB and four processors, whatever is asked; the card's size must be a power of two.

    The device tree that the firmware would hand over is the kernel's own, but for the watchdog: the model restarts
    the board at the write that arms it (RSTC, "full reset"), whatever time was set, and does not count at all.
    The network comes later, by `Guest.plug_in_usb_network`.
    """
    tree = folder / "board.dtb"
    shutil.copyfile(BUILT / "kernel/dtb/bcm2837-rpi-3-b.dtb", tree)
    ToolRoot(tools).run("fdtput", "-t", "s", tree, "/soc/watchdog@7e100000", "status", "disabled")
    return [
        *("-M", "raspi3b", "-m", "1024", "-smp", "4"),
        *("-kernel", str(BUILT / "parts/root/usr/lib/u-boot/rpi_3/u-boot.bin")),
        *("-dtb", str(tree)),
        *("-drive", f"if=sd,file={setup.disk},format=raw,cache=writeback"),
    ]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
