"""What was taken from the card at an earlier start, and whether that still is what stands on it.

Most starts end here: nothing changed, nothing is parsed, and little of Python's library is loaded for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.errors import Problem
from image.firstboot.bootpart import BootPartError, BootPartition
from image.firstboot.durable import Disk
from image.firstboot.places import CONFIG_NAME, MAX_FILE, PRESEED_NAME, Places
from image.firstboot.system import read_json

TAKEN = "taken.json"
SETUP = "setup.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is in force, and what was wrong with what stands on the card."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    hostname: str = ""
    certificate: str = ""
    configured: bool = False  # by the user's file, now or earlier
    accounts: tuple[str, ...] = ()
    has_ssh: bool = False
    blanked: bool = False


def take(
    places: Places, disk: Disk, part: BootPartition, name: str, release: str, tell: Callable[[str], None]
) -> Outcome:
    """Take what changed on the card since the last start. Raises nothing for what users do."""
    known = read_json(places.state / TAKEN)
    try:
        files = {one: part.read(one, MAX_FILE) for one in (CONFIG_NAME, PRESEED_NAME)}
        if files[CONFIG_NAME] is None and isinstance(known.get("text"), str) and part.names():
            part.write(CONFIG_NAME, known["text"].encode())  # lost by a cut in FAT, or by somebody's hand
            files[CONFIG_NAME] = known["text"].encode()
    except BootPartError as error:
        return _without_card(places, disk, known, name, error)
    if not part.names():
        return _without_card(places, disk, known, name, BootPartError("the boot partition is not there"))
    if known.get("seen") == seen(files, release) and (places.config / CONFIG_NAME).exists():
        return recalled(known)
    tell("Reading palomar.toml.")
    try:
        from image.firstboot.taking import Taking  # with it comes a parser, and much else

        return Taking(places, disk, part, name, release, known, files).run()
    except OSError as error:
        # A full data partition, most likely. What was in force still is, and the next start tries again.
        before = recalled(known) if known.get("outcome") else Outcome(hostname=f"{name}.local")
        text = f"what stands on the card could not be taken over: {error.strerror}."
        problem = Problem("data", text, "Make room (deleting mail works) and start again.")
        return dataclasses.replace(before, problems=(*before.problems, problem))


def seen(files: Mapping[str, bytes | None], release: str) -> str:
    """What tells a changed card: both files and the release that reads them."""
    parts = [b"-" if data is None else hashlib.sha256(data).digest() for data in files.values()]
    return hashlib.sha256(b"\0".join([str(FORMAT).encode(), release.encode(), *parts])).hexdigest()


def recalled(known: Mapping[str, Any]) -> Outcome:
    """What an earlier pass found, from its JSON."""
    fields: dict[str, Any] = dict(known["outcome"])
    fields["problems"] = tuple(Problem(**one) for one in fields["problems"])
    for key in ("notes", "accounts"):
        fields[key] = tuple(fields[key])
    return Outcome(**fields)


def _without_card(places: Places, disk: Disk, known: Mapping[str, Any], name: str, error: BootPartError) -> Outcome:
    """The card cannot be read: the last good configuration stays, or the defaults come up."""
    problem = Problem("boot", f"{error}.", error.remedy)
    if known.get("outcome") and (places.config / CONFIG_NAME).exists():
        before = recalled(known)
        return dataclasses.replace(before, problems=(*before.problems, problem))
    from image.firstboot.taking import put_defaults_in_force

    return Outcome((problem,), (), put_defaults_in_force(places, disk, name))
