"""Accounts, their passwords and their application passwords."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from typing import Any, Literal

from appliance import demo
from appliance.auth.credentials import ARGON2ID, PLAIN, read_verifiers
from appliance.calls.addresses import address_of, is_ours, not_ours
from appliance.control import CallError
from appliance.core import Core
from appliance.errors import ExistsError, NotFoundError
from appliance.mail.address import Address
from appliance.mail.language import Language
from appliance.store import Account
from appliance.store.accounts import (
    create_account,
    delete_account,
    list_accounts,
    list_credentials,
    remove_credentials,
    require_account,
    set_credentials,
    set_enabled,
    set_language,
    set_quota,
    set_redirect,
    set_weak_mechanisms,
)
from appliance.store.database import Database
from appliance.store.holds import held_accounts
from appliance.wire.sasl.prepare import prepare_login
from appliance.wire.sasl.scram import SHA1

MIN_PASSWORD = 8  # characters
APP_PASSWORD_OCTETS = 10  # of randomness: 16 letters and digits
WEAK_KINDS = frozenset({PLAIN, SHA1.kind})

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


async def add(
    core: Core, *, name: str, password: str = "", quota_bytes: int = 0, weak: bool = False, verifiers: str = ""
) -> dict[str, Any]:
    """Create an account with a password, or with verifiers that were made of one elsewhere."""
    address = address_of(name)
    if prepare_login(address.key) != address.key:
        raise CallError(f"{name} has characters that a login must not have", kind="AddressError")
    if not await is_ours(core, address.domain):
        raise not_ours(address.domain)
    made = _verifiers(verifiers) if verifiers else await _credentials(core, password, weak=weak)

    def create(db: Database) -> dict[str, Any]:
        create_account(db, address.key, made, quota_bytes=quota_bytes, weak_mechanisms=weak)
        return _described(db, require_account(db, address.key))

    try:
        return await core.store.write(create)
    except ExistsError as error:
        raise CallError(str(error), kind="ExistsError", remedy="`palomar account list` shows all.") from None


async def list_(core: Core) -> list[dict[str, Any]]:
    """All accounts."""
    return await core.store.read(lambda db: [_described(db, account) for account in list_accounts(db)])


async def show(core: Core, *, name: str) -> dict[str, Any]:
    """One account."""
    return await core.store.read(lambda db: _described(db, find_account(db, name)))


async def set_(
    core: Core,
    *,
    name: str,
    quota_bytes: int | None = None,
    enabled: bool | None = None,
    redirect: str | None = None,
    redirect_keep: bool = False,
    language: Language | Literal[""] | None = None,
) -> dict[str, Any]:
    """Change what is given. A redirect with `redirect_keep` leaves a copy here; no language is the appliance's."""
    if redirect and address_of(redirect).key == address_of(name).key:
        raise CallError(f"{name} cannot be redirected to itself", remedy="Leave the address out.", kind="Redirect")

    def change(db: Database) -> dict[str, Any]:
        account = find_account(db, name)
        if quota_bytes is not None:
            set_quota(db, account.name, quota_bytes)
        if enabled is not None:
            set_enabled(db, account.name, enabled=enabled)
        if redirect is not None:
            set_redirect(db, account.name, redirect, keep=redirect_keep)
        if language is not None:
            set_language(db, account.name, language)
        return _described(db, require_account(db, account.name))

    return await core.store.write(change)


async def password(core: Core, *, name: str, password: str = "", verifiers: str = "") -> None:
    """Replace the password of an account."""
    account = await core.store.read(lambda db: find_account(db, name))
    weak = account.weak_mechanisms
    made = _verifiers(verifiers) if verifiers else await _credentials(core, password, weak=weak)
    await core.store.write(lambda db: set_credentials(db, account.name, account.name, made))


async def weak(core: Core, *, name: str, allow: bool, password: str | None = None) -> None:
    """Allow the mechanisms with weak verifiers (the account's password is needed to make them), or remove them."""
    account = await core.store.read(lambda db: find_account(db, name))
    strong = await core.store.read(lambda db: _strong_verifiers(db, account.name))
    made: list[tuple[str, bytes]] = []
    if allow:
        if password is None:
            raise CallError("the password is needed to make the weak verifiers", kind="ArgumentError")
        if not any([await core.auth.matches(data, password) for kind, data in strong if kind == ARGON2ID]):
            raise CallError(
                f"this is not the password of {account.name}",
                remedy=f"Try again, or give it a new one: palomar account password {account.name}",
                kind="Password",
            )
        made = [one for one in await core.auth.new_credentials(password, weak=True) if one[0] in WEAK_KINDS]

    def change(db: Database) -> None:
        if _strong_verifiers(db, account.name) != strong:
            raise CallError(f"{account.name} got another password meanwhile", remedy="Try again.", kind="Password")
        set_weak_mechanisms(db, account.name, allowed=allow)
        set_credentials(db, account.name, account.name, [*strong, *made])

    await core.store.write(change)


def _strong_verifiers(db: Database, name: str) -> list[tuple[str, bytes]]:
    own = [one for one in list_credentials(db, name) if one.login == name]
    return [(one.kind, one.data) for one in own if one.kind not in WEAK_KINDS]


async def delete(core: Core, *, name: str) -> None:
    """Delete an account with its mail."""

    def remove(db: Database) -> None:
        delete_account(db, find_account(db, name).name)

    await core.store.write(remove)


async def app_password_add(core: Core, *, name: str, label: str) -> dict[str, str]:
    """Make an application password with a login of its own, `ana+phone@…`."""
    if not _LABEL.fullmatch(label):
        raise CallError(f"{label!r} is no label", remedy="Use 1 to 32 small letters, digits and hyphens.")
    account = await core.store.read(lambda db: find_account(db, name))
    if label in await _labels(core, account.name):
        raise CallError(
            f"{account.name} has an application password {label} already",
            kind="ExistsError",
            remedy=f"Type: palomar account app-password remove {account.name} {label}",
        )
    address = Address.parse(account.name)
    login = Address(f"{address.local}+{label}", address.domain).key
    made = base64.b32encode(secrets.token_bytes(APP_PASSWORD_OCTETS)).decode().lower()
    shown = "-".join(made[start : start + 4] for start in range(0, len(made), 4))
    credentials = await core.auth.new_credentials(shown)
    await core.store.write(lambda db: set_credentials(db, account.name, login, credentials, label=label))
    return {"login": login, "password": shown}


async def app_password_list(core: Core, *, name: str) -> list[dict[str, str]]:
    """The application passwords of an account, without the passwords."""
    account = await core.store.read(lambda db: find_account(db, name))
    found = await core.store.read(lambda db: list_credentials(db, account.name))
    labels = sorted({(one.label, one.login) for one in found if one.label})
    return [{"label": label, "login": login} for label, login in labels]


async def app_password_remove(core: Core, *, name: str, label: str) -> None:
    """Take an application password away."""
    login = next((row["login"] for row in await app_password_list(core, name=name) if row["label"] == label), None)
    if login is None:
        raise CallError(
            f"{name} has no application password {label}",
            kind="NotFoundError",
            remedy=f"`palomar account app-password list {name}` shows all.",
        )
    await core.store.write(lambda db: remove_credentials(db, login))


def find_account(db: Database, name: str) -> Account:
    """The account of that name. Raises CallError with a remedy."""
    try:
        return require_account(db, name)
    except NotFoundError:
        raise CallError(
            f"there is no account {name}", kind="NotFoundError", remedy="`palomar account list` shows all."
        ) from None


async def _credentials(core: Core, password: str, *, weak: bool) -> Sequence[tuple[str, bytes]]:
    """Verifiers of an acceptable password. Raises CallError for one that is not."""
    if password == demo.PASSWORD:
        if name := demo.reachable(core.settings):
            raise CallError(
                f"this is the demo's password, and others can reach {name}",
                remedy="Choose another password.",
                kind="Password",
            )
        demo.note(core.settings)
    elif len(password) < MIN_PASSWORD:
        raise CallError(
            f"a password has at least {MIN_PASSWORD} characters", remedy="Choose a longer one.", kind="Password"
        )
    try:
        return await core.auth.new_credentials(password, weak=weak)
    except ValueError as error:
        raise CallError(str(error), remedy="Choose another password.", kind="Password") from None


def _verifiers(text: str) -> Sequence[tuple[str, bytes]]:
    try:
        return read_verifiers(text)
    except ValueError as error:
        raise CallError(str(error), remedy="`palomar account hash` makes one.", kind="Password") from None


async def _labels(core: Core, name: str) -> set[str]:
    return {row["label"] for row in await app_password_list(core, name=name)}


def _described(db: Database, account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "quota_bytes": account.quota_bytes,
        "used_bytes": account.used_bytes,
        "enabled": account.enabled,
        "redirect": account.redirect,
        "redirect_keep": account.redirect_keep,
        "weak": account.weak_mechanisms,
        "language": account.language,
        "held": held_accounts(db).get(account.name, ""),
        "app_passwords": sorted({one.label for one in list_credentials(db, account.name) if one.label}),
    }


CALLS = {
    "account.add": add,
    "account.list": list_,
    "account.show": show,
    "account.set": set_,
    "account.password": password,
    "account.weak": weak,
    "account.delete": delete,
    "account.app_password_add": app_password_add,
    "account.app_password_list": app_password_list,
    "account.app_password_remove": app_password_remove,
}
