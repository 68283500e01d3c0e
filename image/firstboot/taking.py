"""Taking over what stands on the card: once for each change of it, whole or not at all, and again after any cut.

Order: secrets and configuration last on the data partition before the card is blanked, and what was taken is written
down at the very end. A cut in between makes the next start do the same once more.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.document import Document, Key
from appliance.errors import ApplianceError, ConfigError, Problem
from image.firstboot import accounts, effective, identity, preseed
from image.firstboot.bootpart import BootPartError, BootPartition
from image.firstboot.config import STORED, SetupConfig
from image.firstboot.durable import Disk
from image.firstboot.literals import replaced, value_at
from image.firstboot.places import CONFIG_NAME, PRESEED_NAME, Places
from image.firstboot.preseed import REMOVED, Preseed
from image.firstboot.system import CommandError, owner, read_json
from image.firstboot.taken import SETUP, TAKEN, Outcome, seen
from image.firstboot.words import document

SECRETS = "secrets.json"


def put_in_force(places: Places, disk: Disk, checked: effective.Checked) -> None:
    """Make it the configuration that mail and network read. Raises OSError."""
    whose = owner(places)
    disk.write(places.config / CONFIG_NAME, checked.text.encode(), 0o640, (0, whose[1]) if whose else None)


def put_defaults_in_force(places: Places, disk: Disk, name: str) -> str:
    """Let the appliance come up as nobody's. Returns its host name. Raises OSError."""
    checked = effective.defaults(places, disk, name, Preseed())
    put_in_force(places, disk, checked)
    return checked.hostname


class Taking:
    """One pass over the card's files."""

    def __init__(
        self,
        places: Places,
        disk: Disk,
        part: BootPartition,
        name: str,
        release: str,
        known: Mapping[str, Any],
        files: dict[str, bytes | None],
    ) -> None:
        self._places, self._disk, self._part = places, disk, part
        self._name, self._release, self._files = name, release, files
        self._known = known
        self._problems: list[Problem] = []
        self._retry = False  # at the next start, even if nothing changes
        self._notes: list[str] = []
        self._imager_number = secrets.token_hex(4)
        self._kept: dict[str, str] = read_json(places.config / SECRETS)
        self._made = set(read_json(places.config / SETUP).get("accounts", ()))

    def run(self) -> Outcome:
        """Take both files, and write down what came of it."""
        imager, imager_text = self._read_preseed()
        checked, read = self._check(imager)
        good = checked is not None
        before = self._known.get("outcome") or {}
        configured = good or bool(before.get("configured"))
        if checked is None and not (configured and (self._places.config / CONFIG_NAME).exists()):
            checked = effective.defaults(self._places, self._disk, self._name, imager)
        if checked is not None:
            self._retry |= self._put(checked, imager, read)
            if read is not None and good:
                # passwords of accounts that could not be made are needed again
                blanks = {key: mark for key, mark in checked.blanked.items() if not (self._retry and key[0] == "setup")}
                self._blank(CONFIG_NAME, read[1], blanks)
        self._blank(PRESEED_NAME, imager_text, self._preseed_blanks(imager, imager_text))
        outcome = Outcome(
            tuple(self._problems),
            tuple(self._notes),
            checked.hostname if checked else str(before.get("hostname", self._name)),
            checked.certificate if checked else str(before.get("certificate", "")),
            configured,
            tuple(sorted(self._made)),
            (self._places.identity / "ssh/authorized_keys").exists(),
            any(STORED.search(text) for text in self._texts()),
        )
        self._write_down(outcome, good=good)
        return outcome

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _parsed(self, name: str) -> tuple[Document, str] | None:
        """A file of the card; None without it, or when it is none, which is told then."""
        data = self._files[name]
        if data is None:
            return None
        try:
            found = document(data, name)
        except ConfigError as error:
            self._problems += error.problems
            return None
        return found, data.decode("utf-8-sig")

    def _read_preseed(self) -> tuple[Preseed, str]:
        read = self._parsed(PRESEED_NAME)
        if read is None:
            return Preseed(), ""
        mark = STORED.fullmatch(str(value_at(read[0].data, ("wlan", "password")) or ""))
        try:
            found = preseed.read(read[0], self._kept.get(mark[1] or "") if mark else None)
        except ConfigError as error:
            self._problems += error.problems
            return Preseed(), ""
        self._notes += found.notes
        return found, read[1]

    def _check(self, imager: Preseed) -> tuple[effective.Checked | None, tuple[Document, str] | None]:
        """Let Palomar judge palomar.toml; None where the one before stays in force."""
        read = self._parsed(CONFIG_NAME)
        if read is None and self._files[CONFIG_NAME] is not None:
            return None, None
        found, text = read or (Document({}, Path(CONFIG_NAME), {}), "")
        text = text.replace("\r\n", "\n")
        try:
            checked = self._judged(found, text, imager)
        except ConfigError as error:
            self._problems += error.problems
            return None, read
        except (ApplianceError, OSError, ValueError) as error:
            remedy = "It is tried again at the next start; if it happens again, write the image to another card."
            self._problems.append(Problem("file", f"cannot be checked: {error}.", remedy, CONFIG_NAME))
            self._retry = True
            return None, read
        self._problems += accounts.missing(found, checked.setup, self._made)
        self._problems += self._time_zone_problems(found, checked.setup)
        return checked, read

    def _judged(self, found: Document, text: str, imager: Preseed) -> effective.Checked:
        """What Palomar takes; without the Imager's network, where that alone is wrong. Raises ConfigError."""

        def check(one: Preseed) -> effective.Checked:
            return effective.check(self._places, self._disk, found, text, one, name=self._name, kept=self._kept)

        try:
            return check(imager)
        except ConfigError as error:
            if any(problem.file != PRESEED_NAME for problem in error.problems):
                raise
            self._problems += error.problems
            return check(dataclasses.replace(imager, network="", sources=()))

    def _time_zone_problems(self, found: Document, setup: SetupConfig) -> list[Problem]:
        zones = self._places.zoneinfo
        if not setup.time_zone or not zones.is_dir() or (zones / setup.time_zone).is_file():
            return []
        text = f"there is no time zone {setup.time_zone!r}."
        return [found.problem(("setup", "time_zone"), text, 'Write it like "Europe/Madrid"; the clock shows UTC now.')]

    # ── putting in force ──────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, checked: effective.Checked, imager: Preseed, read: tuple[Document, str] | None) -> bool:
        """Make it last on the data partition; whether something has to be tried again at the next start."""
        places, disk = self._places, self._disk
        self._keep_secrets({**self._kept, **checked.kept, **self._preseed_secret(imager)})
        put_in_force(places, disk, checked)
        keys = tuple(dict.fromkeys((*(key.strip() for key in checked.setup.ssh_keys), *imager.ssh_keys)))
        try:
            identity.ensure_ssh(places, disk, keys)
        except CommandError as error:
            self._problems.append(Problem("setup.ssh_keys", f"{error}.", "SSH stays off.", CONFIG_NAME))
        failed: list[Problem] = []
        if read is not None and checked.setup.accounts:
            failed = accounts.apply(places, read[0], checked.setup)
            self._problems += failed
            if not failed:
                self._made |= {one.name.lower() for one in checked.setup.accounts if not one.is_stored}
        self._write_setup(checked.setup, imager)
        return bool(failed)

    def _write_setup(self, setup: SetupConfig, imager: Preseed) -> None:
        place = {
            "accounts": sorted(self._made),
            "time_zone": setup.time_zone or imager.time_zone,
            "locale": setup.locale or imager.locale,
        }
        self._disk.write(self._places.config / SETUP, json.dumps(place).encode(), 0o644)

    def _keep_secrets(self, kept: dict[str, str]) -> None:
        self._kept = kept
        self._disk.write(self._places.config / SECRETS, json.dumps(kept, sort_keys=True).encode(), 0o600)

    # ── the card ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _preseed_secret(self, imager: Preseed) -> dict[str, str]:
        """The Imager's Wi-Fi passphrase, which was not stored yet, under its number."""
        data = self._files[PRESEED_NAME]
        for key in imager.secrets if data is not None else ():
            value = value_at(document(data or b"", PRESEED_NAME).data, key)
            if isinstance(value, str) and not STORED.fullmatch(value):
                return {self._imager_number: value}
        return {}

    def _preseed_blanks(self, imager: Preseed, text: str) -> dict[Key, str]:
        if not text:
            return {}
        stored = self._preseed_secret(imager)
        blanks: dict[Key, str] = {key: f"(stored {number})" for key in imager.secrets for number in stored}
        found = document(text.encode(), PRESEED_NAME).data
        unused = [key for key in imager.unused_secrets if value_at(found, key) not in {"", REMOVED}]
        return blanks | dict.fromkeys(unused, REMOVED)

    def _blank(self, name: str, text: str, blanks: Mapping[Key, str]) -> None:
        """Put marks in place of secrets; comments, order and line ends stay."""
        if not blanks:
            return
        try:
            data = replaced(text, blanks).encode()
            self._part.write(name, data, wipe=True)
            self._files[name] = data
        except (BootPartError, ValueError) as error:
            remedy = "Take passwords out of the file by hand; they are stored already."
            self._problems.append(Problem("file", f"secrets could not be blanked: {error}.", remedy, name))

    def _texts(self) -> list[str]:
        return [data.decode("utf-8", "replace") for data in self._files.values() if data is not None]

    def _write_down(self, outcome: Outcome, *, good: bool) -> None:
        if good:  # numbers that no file names any more
            named = {found[1] for text in self._texts() for found in STORED.finditer(text)}
            self._keep_secrets({number: value for number, value in self._kept.items() if number in named})
        data = self._files[CONFIG_NAME]
        record = {
            "seen": "" if self._retry else seen(self._files, self._release),
            "text": data.decode() if good and data is not None else self._known.get("text"),
            "outcome": dataclasses.asdict(outcome),
        }
        self._disk.write(self._places.state / TAKEN, json.dumps(record).encode(), 0o600)
