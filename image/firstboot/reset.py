"""Factory reset by a file on the boot partition, done at the next start and once.

`RESET` forgets settings, network and logs; the machine's identity and all mail stay. `RESET-ALL` makes everything as
it was on the day the card was written. Mail goes only if the file has a line that says so: `delete all mail`.
"""

from __future__ import annotations

from image.firstboot.bootpart import BootPartition
from image.firstboot.durable import Disk
from image.firstboot.places import CONFIG_NAME, TEMPLATE, Places
from image.firstboot.system import read_json

RESET = "RESET"
RESET_ALL = "RESET-ALL"
MAIL_WORDS = "delete all mail"
MAX_RESET_FILE = 4096
SETTINGS = ("config", "hw", "log", "state")


def perform(places: Places, disk: Disk, part: BootPartition) -> tuple[list[str], list[str]]:
    """Do what is asked for. Returns what was done, and what was not and why. Raises BootPartError, OSError."""
    everything, settings = _asked(part, RESET_ALL), _asked(part, RESET)
    if everything is None and settings is None:
        return [], []
    name, text = everything or settings or ("", "")
    with_mail = MAIL_WORDS in " ".join(text.lower().split())
    if everything is not None and not with_mail:
        return [], [f'{name} would delete all mail too. If that is meant, write the line "{MAIL_WORDS}" into the file.']
    taken = read_json(places.state / "taken.json").get("text")
    for folder in (*SETTINGS, *(("mail",) if with_mail else ()), *(("identity",) if everything else ())):
        disk.remove_tree(places.data / folder)
    # The file that was in force goes too; one that was edited since is what the new start is meant to have.
    if isinstance(taken, str) and part.read(CONFIG_NAME, len(taken.encode())) == taken.encode():
        part.write(CONFIG_NAME, TEMPLATE.read_bytes(), wipe=True)
    for one in (everything, settings):
        if one is not None:
            part.remove(one[0])
    done = "Settings, network and logs were reset."
    if everything is not None:
        done = "Everything was reset: settings, logs, identity."
    return [f"{done} All mail was deleted." if with_mail else f"{done} All mail is still there."], []


def _asked(part: BootPartition, name: str) -> tuple[str, str] | None:
    """The file's name as it is spelled, and what it says. Windows likes to add .txt."""
    for spelled in (name, f"{name}.txt"):
        data = part.read(spelled, MAX_RESET_FILE)
        if data is not None:
            return spelled, data.decode("utf-8", "replace").replace("\0", "")
    return None
