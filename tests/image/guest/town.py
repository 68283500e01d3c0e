"""What is at the other end of a guest's cables: networks with a router that gives addresses and names, and somebody
else's mail server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from subprocess import Popen

from tests.hw.netns.cable import Cable, GuestNic, Tap
from tests.hw.netns.lab import ROUTER, ROUTER_V4, Namespaces

SERVER = Path(__file__).with_name("mailserver.py")
ELSEWHERE = "elsewhere.example"


class Town(Namespaces):
    """Namespaces that end cables."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mail = folder / "mail"
        self.mail.mkdir()

    def network(self, number: int, nic: GuestNic, *, vlan: int = 0, loss: float = 0.0) -> tuple[int, Cable]:
        """The network 10.9.<number>.0/24 and fd00:<number + 9>::/64, with a router but no server yet, and its cable."""
        pid = self.namespace(ROUTER)
        tap = Tap(f"tap{os.getpid()}-{number}")
        tap.move(pid, "lan0")
        cable = Cable(tap, nic, vlan=vlan, loss=loss, seed=number)
        self.cables.append(cable)
        self.address(pid, number)
        return pid, cable

    def serve(self, pid: int, number: int, mac: str) -> Popen[bytes]:
        """Addresses (always .50 for that MAC address, for two minutes), advertisements, and names."""
        router = ROUTER_V4.format(n=number)
        net = router.rpartition(".")[0]
        return self.dnsmasq(
            pid,
            *(f"--dhcp-range={net}.50,{net}.99,2m", f"--dhcp-host={mac},{net}.50"),
            *("--enable-ra", f"--dhcp-range=fd00:{number + 9}::,ra-only", "--ra-param=lan0,high,10,600"),
            *(f"--dhcp-option=option:dns-server,{router}", "--domain=town.example"),
            *(
                "--no-resolv",
                "--no-hosts",
                f"--mx-host={ELSEWHERE},mx.{ELSEWHERE}",
                f"--address=/mx.{ELSEWHERE}/{router}",
            ),
            port=53,
        )

    def mail_server(self, pid: int) -> Popen[bytes]:
        """Takes mail for anybody; each message is a file in `mail`."""
        return self.background(pid, sys.executable, str(SERVER), str(self.mail), log="mailserver.log")

    def send(self, pid: int, host: str, sender: str, recipient: str, subject: str, seconds: float) -> None:
        """A message by SMTP from a namespace."""
        script = (
            "import smtplib, sys\n"
            "host, sender, recipient, subject, seconds = sys.argv[1:]\n"
            "text = f'From: <{sender}>\\r\\nTo: <{recipient}>\\r\\nSubject: {subject}\\r\\n\\r\\nHello.\\r\\n'\n"
            "with smtplib.SMTP(host, 25, timeout=float(seconds)) as client:\n"
            "    client.sendmail(sender, [recipient], text)\n"
        )
        self.within(
            pid, sys.executable, "-c", script, host, sender, recipient, subject, str(seconds), seconds=seconds + 10
        )

    def connects(self, pid: int, host: str, port: int) -> str:
        """How a connection from a namespace ends within three seconds: open, refused, or silent."""
        script = (
            "import socket, sys\n"
            "try:\n    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()\n    print('open')\n"
            "except ConnectionRefusedError:\n    print('refused')\nexcept TimeoutError:\n    print('silent')\n"
        )
        return self.within(pid, sys.executable, "-c", script, host, str(port)).strip()
