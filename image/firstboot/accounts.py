"""The accounts of `[setup]`: made, or given a new password, by Palomar's own commands while no mail process runs."""

from __future__ import annotations

import json

from appliance.document import Document
from appliance.errors import Problem
from image.firstboot.config import SetupConfig
from image.firstboot.places import CONFIG_NAME, Places
from image.firstboot.system import CommandError, run_palomar


def apply(places: Places, document: Document, setup: SetupConfig) -> list[Problem]:
    """Make what is wanted; doing it twice changes nothing. Returns what could not be done."""
    wanted = [(place, one) for place, one in enumerate(setup.accounts) if not one.is_stored]
    if not wanted:
        return []
    config = ("--config", str(places.config / CONFIG_NAME))
    problems = []
    try:
        known = _known(places, config)
        for place, account in wanted:
            verb = "password" if account.name.lower() in known else "add"
            stdin = "--hash-stdin" if account.is_hash else "--password-stdin"
            done = run_palomar(places, *config, "account", verb, account.name, stdin, stdin=f"{account.password}\n")
            if done.code:
                text = f"the account could not be made: {done.last_words}."
                key = ("setup", "accounts", place, "password")
                problems.append(document.problem(key, text, "Correct it; it is tried again at the next start."))
    except (CommandError, ValueError) as error:
        text = f"accounts could not be made: {error}."
        problems.append(document.problem(("setup", "accounts"), text, "They are tried again at the next start."))
    return problems


def _known(places: Places, config: tuple[str, ...]) -> set[str]:
    """The names of the accounts that there are. Raises CommandError, ValueError."""
    if not (places.mail / "mail.db").exists():
        return set()  # it would take a slow board seconds to say so
    listed = run_palomar(places, *config, "account", "list", "--json")
    return {row["name"] for row in json.loads(listed.out)} if not listed.code else set()


def missing(document: Document, setup: SetupConfig, made: set[str]) -> list[Problem]:
    """Accounts whose password is said to be stored, but was never taken here."""
    return [
        document.problem(
            ("setup", "accounts", place, "password"),
            "was taken from the card of another appliance, or before a reset; it is not known here.",
            "Write it again, or take the account out.",
        )
        for place, one in enumerate(setup.accounts)
        if one.is_stored and one.name.lower() not in made
    ]
