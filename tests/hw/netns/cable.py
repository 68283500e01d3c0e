"""A cable between two interfaces that can lose packets, and be the trunk of a VLAN; an end may be the NIC of a guest.

A build machine's kernel may lack VLANs and netem, so tags and losses are made here, frame by frame.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Protocol

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TAP, _IFF_NO_PI = 0x2, 0x1000
_ANY, _SOL_PACKET, _PACKET_IGNORE_OUTGOING = 0x3, 263, 23  # linux/if_ether.h, linux/if_packet.h
_VLAN = 0x8100  # IEEE 802.1Q
_MAX_FRAME = 65536
_ETHERNET_ADDRESSES = 12  # octets of a frame before its tag


class End(Protocol):
    """Where frames come from and go to. Both raise OSError when a frame is lost, as there is nobody, or no room."""

    def fileno(self) -> int:
        """For poll."""

    def receive(self) -> bytes:
        """The next frame."""

    def send(self, frame: bytes) -> None:
        """One frame."""

    def close(self) -> None:
        """No more of them."""


class Tap:
    """An interface of this machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self._descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))

    def move(self, pid: int, name: str) -> None:
        """Put it into the namespace of a process, under a name of that one."""
        subprocess.run(["ip", "link", "set", self.name, "netns", str(pid), "name", name], check=True)

    def fileno(self) -> int:
        """See End."""
        return self._descriptor

    def receive(self) -> bytes:
        """See End."""
        return os.read(self._descriptor, _MAX_FRAME)

    def send(self, frame: bytes) -> None:
        """See End."""
        os.write(self._descriptor, frame)

    def close(self) -> None:
        """Take the interface away."""
        os.close(self._descriptor)


class Peer:
    """The other end of a veth interface `name`, which is made in the namespace of a process."""

    def __init__(self, here: str, pid: int, name: str) -> None:
        subprocess.run(f"ip link add {here} up type veth peer name {name} netns {pid}".split(), check=True)
        self._name = here
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ANY))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((here, _ANY))

    def fileno(self) -> int:
        """See End."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """See End."""
        return self._socket.recv(_MAX_FRAME)

    def send(self, frame: bytes) -> None:
        """See End."""
        self._socket.send(frame)

    def close(self) -> None:
        """Take the interface away, if it did not go with the namespace."""
        self._socket.close()
        subprocess.run(["ip", "link", "del", self._name], check=False, stderr=subprocess.DEVNULL)


class GuestNic:
    """The NIC of a guest in QEMU; `arguments` puts it there."""

    def __init__(self, name: str, mac: str) -> None:
        self.mac = mac
        # Short: the path of a Unix socket has 107 octets at most.
        self._folder = Path(tempfile.mkdtemp(prefix="nic-"))
        here, self._there = self._folder / "here", str(self._folder / "there")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(here))
        local, remote = f"local.type=unix,local.path={self._there}", f"remote.type=unix,remote.path={here}"
        self.arguments = (
            *("-netdev", f"dgram,id={name},{local},{remote}"),
            *("-device", f"virtio-net-pci,netdev={name},mac={mac},romfile="),
        )

    def fileno(self) -> int:
        """See End."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """See End."""
        return self._socket.recv(_MAX_FRAME)

    def send(self, frame: bytes) -> None:
        """See End."""
        self._socket.sendto(frame, self._there)

    def close(self) -> None:
        """Unplug it for good."""
        self._socket.close()
        shutil.rmtree(self._folder)


class Cable:
    """Carries frames until it is closed. On the side of `trunk` they have the tag `vlan`, unless that is 0.

    `loss` (0 to 1) may be changed at any time.
    """

    def __init__(self, plain: End, trunk: End, *, vlan: int = 0, loss: float = 0.0, seed: int = 0) -> None:
        self.loss = loss
        self.carried = self.lost = self.foreign = 0
        self._plain, self._trunk = plain, trunk
        self._vlan = vlan
        self._chance = random.Random(seed)
        self._end, self._ended = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take it away, with both ends."""
        os.close(self._ended)
        self._thread.join(10)
        os.close(self._end)
        self._plain.close()
        self._trunk.close()

    def _carry(self) -> None:
        poll = select.poll()
        for descriptor in (self._plain.fileno(), self._trunk.fileno(), self._end):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._end in ready:
                return
            for source, tell in ((self._plain, self._to_trunk), (self._trunk, self._to_plain)):
                if source.fileno() in ready:
                    with contextlib.suppress(OSError):
                        tell(source.receive())

    def _to_trunk(self, frame: bytes) -> None:
        if self._vlan:
            tag = struct.pack("!HH", _VLAN, self._vlan)
            frame = frame[:_ETHERNET_ADDRESSES] + tag + frame[_ETHERNET_ADDRESSES:]
        if not self._is_lost():
            self._trunk.send(frame)

    def _to_plain(self, frame: bytes) -> None:
        if self._vlan:
            kind, tag = struct.unpack_from("!HH", frame, _ETHERNET_ADDRESSES)
            if kind != _VLAN or tag & 0xFFF != self._vlan:
                self.foreign += 1
                return
            frame = frame[:_ETHERNET_ADDRESSES] + frame[_ETHERNET_ADDRESSES + 4 :]
        if not self._is_lost():
            self._plain.send(frame)

    def _is_lost(self) -> bool:
        lost = self._chance.random() < self.loss
        self.lost += lost
        self.carried += not lost
        return lost
