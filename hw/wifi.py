"""One Wi-Fi interface as a client: wpa_supplicant, started with a file that is rendered safely, and watched.

Names and passphrases never pass a shell or an argument list. The file is readable by root only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from pathlib import Path

from hw.messages import Note
from hw.part import Report
from hw.resolv import write_whole
from hw.wanted import WifiClient, WifiNetwork

PROGRAM = "wpa_supplicant"
STOP_S = 3.0
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


def render(client: WifiClient, control: Path) -> str:
    """The configuration of wpa_supplicant. Whatever people wrote goes in as hexadecimal digits or checked."""
    if not re.fullmatch(r"[A-Z]{2}", client.country):
        raise ValueError(f"{client.country!r} is no country")
    head = f"ctrl_interface={control}\nupdate_config=0\ncountry={client.country}\nap_scan=1\n"
    count = len(client.networks)
    return head + "".join(_network(one, count - place) for place, one in enumerate(client.networks))


def _network(network: WifiNetwork, priority: int) -> str:
    lines = [f"ssid={network.ssid.encode().hex()}", f"priority={priority}"]
    if network.hidden:
        lines.append("scan_ssid=1")
    lines += _keys(network)
    return "network={\n" + "".join(f"\t{line}\n" for line in lines) + "}\n"


def _keys(network: WifiNetwork) -> list[str]:
    passphrase = network.passphrase
    if not passphrase:
        return ["key_mgmt=NONE"]
    if _HEX_KEY.fullmatch(passphrase):
        return ["key_mgmt=WPA-PSK WPA-PSK-SHA256", "ieee80211w=1", f"psk={passphrase.lower()}"]
    if not (passphrase.isascii() and passphrase.isprintable() and 8 <= len(passphrase) <= 63):
        raise ValueError("a passphrase has 8 to 63 printable ASCII characters")
    # IEEE 802.11-2020 annex J.4. WPA3 needs the passphrase itself; its quotes are the first and the last on the line.
    key = hashlib.pbkdf2_hmac("sha1", passphrase.encode(), network.ssid.encode(), 4096, 32).hex()
    return ["key_mgmt=WPA-PSK WPA-PSK-SHA256 SAE", "ieee80211w=1", f"psk={key}", f'sae_password="{passphrase}"']


class WifiWorker:
    """Keeps wpa_supplicant running for one interface. Raises when it ends, so that it is started again."""

    def __init__(self, spec: WifiClient, folder: Path, *, program: str = PROGRAM) -> None:
        self.name = f"Wi-Fi on {spec.link}"
        self.spec = spec
        self._folder = folder
        self._program = program
        self._has_carrier: bool | None = None
        self._report: Report | None = None

    def carrier(self, there: bool, changes: int) -> None:
        """The radio link came or went."""
        if there != self._has_carrier:
            self._has_carrier = there
            self._tell()

    def _tell(self) -> None:
        if self._report is None:
            return
        names = ", ".join(repr(network.ssid) for network in self.spec.networks)
        text = f"{self.spec.link} has not joined {names}: out of reach, or the passphrase is wrong."
        self._report(() if self._has_carrier else (Note(source=self.name, level="warning", text=text),))

    async def run(self, report: Report) -> None:
        """Run it until cancelled."""
        self._report = report
        path = self._folder / f"wpa-{self.spec.link}.conf"
        write_whole(path, render(self.spec, self._folder / "wpa").encode(), mode=0o600)
        process = await asyncio.create_subprocess_exec(
            self._program, "-i", self.spec.link, "-c", str(path), "-D", "nl80211,wext", stdin=asyncio.subprocess.DEVNULL
        )
        try:
            status = await process.wait()
            raise OSError(f"{self._program} ended with status {status}")
        finally:
            self._report = None
            path.unlink(missing_ok=True)
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_S)
            if process.returncode is None:
                process.kill()
                await process.wait()
