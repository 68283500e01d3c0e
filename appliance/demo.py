"""The demo's password, and the rule that keeps it at home.

`palomar` is fine for two accounts that only this machine can reach. Where any listener leaves the loopback, the
password is refused when it is set, and a start with an account that still has it is refused too.
"""

from __future__ import annotations

from pathlib import Path

from appliance.auth.credentials import ARGON2ID, password_matches
from appliance.config import CoreConfig, Settings
from appliance.core import Core
from appliance.errors import Problem
from appliance.preflight import binds
from appliance.store.accounts import list_accounts, list_credentials
from appliance.store.database import Database

PASSWORD = "palomar"
ACCOUNTS = ("ana@palomar.test", "luis@palomar.test")
_MARK = "demo"  # a file in the data folder once any account got that password


def reachable(settings: Settings) -> str:
    """The first setting with an address that others can reach, empty if all stay on this machine."""
    return next((name for name, bind in binds(settings) if not bind.is_loopback), "")


def note(settings: Settings) -> None:
    """Remember that an account has got the password, so that only such a folder has to be looked through."""
    _mark(settings).touch(mode=0o600)


def is_noted(settings: Settings) -> bool:
    """Whether an account of this data folder may have the password."""
    return _mark(settings).exists()


async def problems(core: Core) -> list[Problem]:
    """Accounts that still have the demo's password while others can reach us. To be asked before services start."""
    settings = core.settings
    if not is_noted(settings) or not (name := reachable(settings)):
        return []
    accounts = await core.store.read(_with_password)
    if not accounts:
        _mark(settings).unlink(missing_ok=True)
    text = "{} has the password of the demo, and this address can be reached by others."
    remedy = "Type: palomar account password {}"
    return [settings.problem(name, text.format(account), remedy.format(account)) for account in accounts]


def _with_password(db: Database) -> list[str]:
    return [
        account.name
        for account in list_accounts(db)
        if any(
            one.kind == ARGON2ID and password_matches(one.data, PASSWORD) for one in list_credentials(db, account.name)
        )
    ]


def _mark(settings: Settings) -> Path:
    return settings[CoreConfig].data / _MARK
