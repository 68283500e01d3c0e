"""Accounts, credentials, domains and aliases. Functions of (db, …); names are stored as `Address.key` gives them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Literal

from appliance.errors import AddressError, ExistsError, NotFoundError, StoreError
from appliance.mail.address import Address, domain_key, normal_domain
from appliance.mail.language import Language
from appliance.store.annotations import forget_private_annotations
from appliance.store.database import Database
from appliance.store.mailboxes import INBOX, create_mailbox, detach_mailboxes
from appliance.store.model import Account, Domain, DomainKind, StoredCredential
from appliance.store.rights import forget_entries_for

FIRST_MAILBOXES = (  # what every new account has, with its special use (RFC 6154)
    (INBOX, ""),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
    ("Archive", "\\Archive"),
)
MAX_TARGETS = 1000  # of one alias
MAX_CREDENTIALS = 100  # rows of one account: its password's verifiers and its application passwords'

_ACCOUNT = (
    "SELECT a.id, a.name, a.quota_bytes, (SELECT ifnull(sum(bytes), 0) FROM mailbox m WHERE m.account_id = a.id),"
    " a.enabled, a.redirect, a.weak_mechanisms, a.redirect_keep, a.language FROM account a"
)


def address_key(text: str) -> str:
    """The form in which addresses of our own domains are stored. Raises StoreError if the text is no address."""
    try:
        return Address.parse(text).key
    except AddressError as error:
        raise StoreError(f"{text!r} is no mail address: {error}") from error


def create_account(
    db: Database,
    name: str,
    credentials: Sequence[tuple[str, bytes]] = (),
    *,
    quota_bytes: int = 0,
    redirect: str = "",
    weak_mechanisms: bool = False,
) -> Account:
    """Create an account with INBOX, Drafts, Sent, Junk, Trash and Archive, all subscribed.

    `credentials` are (kind, data) as `Authenticator.make_credentials` gives them; without any nobody can log in.
    Raises ExistsError if the address is an account or an alias, StoreError if it is no address.
    """
    key = address_key(name)
    if get_account(db, key) is not None:
        raise ExistsError(f"account {key} exists already")
    if get_alias(db, key):
        raise ExistsError(f"{key} is an alias")
    _refuse_list(db, key)
    account_id = db.execute(
        "INSERT INTO account (name, quota_bytes, redirect, weak_mechanisms, created_at) VALUES (?, ?, ?, ?, ?)",
        (key, max(quota_bytes, 0), address_key(redirect) if redirect else "", weak_mechanisms, db.now),
    ).lastrowid
    assert account_id is not None
    for mailbox, special_use in FIRST_MAILBOXES:
        create_mailbox(db, account_id, mailbox, special_use=special_use, subscribe=True)
    set_credentials(db, key, key, credentials)
    db.touch_directory()
    return require_account(db, key)


def get_account(db: sqlite3.Connection, name: str) -> Account | None:
    """One account by its name, or None."""
    return _one(db, "a.name = ?", name.lower())


def account_by_id(db: sqlite3.Connection, account_id: int) -> Account | None:
    """One account by its id, or None."""
    return _one(db, "a.id = ?", account_id)


def require_account(db: sqlite3.Connection, name: str) -> Account:
    """One account by its name. Raises NotFoundError."""
    if (account := get_account(db, name)) is None:
        raise NotFoundError(f"no account {name}")
    return account


def list_accounts(db: sqlite3.Connection) -> list[Account]:
    """All accounts in the order of their names."""
    return [_account(row) for row in db.execute(f"{_ACCOUNT} ORDER BY a.name")]


def set_quota(db: Database, name: str, quota_bytes: int) -> None:
    """Limit what an account stores, in octets; 0 takes the limit away."""
    _set(db, name, "quota_bytes", max(quota_bytes, 0))


def set_enabled(db: Database, name: str, *, enabled: bool) -> None:
    """Let an account log in and receive mail, or not."""
    _set(db, name, "enabled", int(enabled))


def set_redirect(db: Database, name: str, redirect: str, *, keep: bool = False) -> None:
    """Send all mail of an account to another address, and `keep` a copy or not; an empty one ends that.

    Raises StoreError if it would lead to itself.
    """
    key = address_key(redirect) if redirect else ""
    if key == require_account(db, name).name:
        raise StoreError(f"{key} cannot be redirected to itself")
    _set(db, name, "redirect", key)
    _set(db, name, "redirect_keep", int(keep and bool(redirect)))


def set_weak_mechanisms(db: Database, name: str, *, allowed: bool) -> None:
    """Allow SCRAM-SHA-1, CRAM-MD5 and APOP for an account, whose verifiers are weak or recoverable."""
    _set(db, name, "weak_mechanisms", int(allowed))


def set_language(db: Database, name: str, language: Language | Literal[""]) -> None:
    """The language in which the appliance writes to an account; an empty one is the appliance's own."""
    _set(db, name, "language", language)


def delete_account(db: Database, name: str) -> None:
    """Delete an account with mailboxes, credentials and subscriptions. Its messages go in small steps afterwards."""
    account = require_account(db, name)
    detach_mailboxes(db, "account_id = ?", account.id)
    db.execute("DELETE FROM subscription WHERE account_id = ?", (account.id,))
    forget_private_annotations(db, account.id)
    forget_entries_for(db, account.id)
    for table in ("account_hold", "held_message"):
        db.execute(f"DELETE FROM {table} WHERE account_id = ?", (account.id,))
    db.execute("DELETE FROM credential WHERE account_id = ?", (account.id,))
    db.execute("DELETE FROM account WHERE id = ?", (account.id,))
    db.touch_directory()


def quota_left(db: sqlite3.Connection, account_id: int) -> int | None:
    """Octets that an account may still store; None without a limit. Raises NotFoundError."""
    row = db.execute(
        "SELECT quota_bytes, CASE WHEN quota_bytes > 0 THEN"
        " (SELECT ifnull(sum(bytes), 0) FROM mailbox m WHERE m.account_id = account.id) END"
        " FROM account WHERE id = ?",
        (account_id,),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no account {account_id}")
    return max(row[0] - row[1], 0) if row[0] else None


# ── credentials ───────────────────────────────────────────────────────────────────────────────────────────────────


def credentials_of(db: sqlite3.Connection, login: str) -> list[StoredCredential]:
    """The verifiers of one login name, which is an account's name or that of an application password."""
    rows = db.execute(
        "SELECT c.kind, a.name, c.login, c.label, c.data FROM credential c JOIN account a ON a.id = c.account_id"
        " WHERE c.login = ?",
        (login,),
    )
    return [StoredCredential(*row) for row in rows]


def list_credentials(db: sqlite3.Connection, name: str) -> list[StoredCredential]:
    """All verifiers of an account, its application passwords' included."""
    account = require_account(db, name)
    rows = db.execute(
        "SELECT kind, ?, login, label, data FROM credential WHERE account_id = ? ORDER BY login, kind",
        (account.name, account.id),
    )
    return [StoredCredential(*row) for row in rows]


def set_credentials(
    db: Database, name: str, login: str, credentials: Iterable[tuple[str, bytes]], *, label: str = ""
) -> None:
    """Replace the verifiers of one login name of an account. Raises ExistsError if another account has the login."""
    account = require_account(db, name)
    login = address_key(login)
    owner = db.execute("SELECT account_id FROM credential WHERE login = ?", (login,)).fetchone()
    other = db.execute("SELECT id FROM account WHERE name = ?", (login,)).fetchone()
    if (owner is not None and owner[0] != account.id) or (other is not None and other[0] != account.id):
        raise ExistsError(f"the login {login} belongs to another account")
    db.execute("DELETE FROM credential WHERE login = ?", (login,))
    db.executemany(
        "INSERT INTO credential (login, kind, account_id, label, data) VALUES (?, ?, ?, ?, ?)",
        [(login, kind, account.id, label, data) for kind, data in credentials],
    )
    (count,) = db.execute("SELECT count(*) FROM credential WHERE account_id = ?", (account.id,)).fetchone()
    if count > MAX_CREDENTIALS:
        raise StoreError(f"an account has at most {MAX_CREDENTIALS} stored verifiers")
    db.touch_directory()


def remove_credentials(db: Database, login: str) -> None:
    """Take away all verifiers of one login name. Raises NotFoundError if it has none."""
    if not db.execute("DELETE FROM credential WHERE login = ?", (login.lower(),)).rowcount:
        raise NotFoundError(f"no login {login}")
    db.touch_directory()


# ── domains and aliases ───────────────────────────────────────────────────────────────────────────────────────────


def add_domain(
    db: Database, name: str, kind: DomainKind = "local", *, catch_all: str = "", next_hop: str = ""
) -> Domain:
    """Add a domain of ours, or change how it is served.

    Raises StoreError if the name is no domain, or if a relay has no next hop, or a local domain has one.
    """
    if not next_hop if kind == "relay" else next_hop and kind == "local":
        raise StoreError("a domain of kind relay needs a next hop" if kind == "relay" else f"{kind} has no next hop")
    domain = Domain(_domain(name), kind, address_key(catch_all) if catch_all else "", next_hop)
    db.execute(
        "INSERT INTO domain (name, kind, catch_all, next_hop) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET kind = excluded.kind, catch_all = excluded.catch_all, next_hop = excluded.next_hop",
        (domain.name, domain.kind, domain.catch_all, domain.next_hop),
    )
    db.touch_directory()
    return domain


def remove_domain(db: Database, name: str) -> None:
    """Remove a domain; its accounts and aliases stay. Raises NotFoundError."""
    if not db.execute("DELETE FROM domain WHERE name = ?", (_domain(name),)).rowcount:
        raise NotFoundError(f"no domain {name}")
    db.touch_directory()


def list_domains(db: sqlite3.Connection) -> list[Domain]:
    """All domains in the order of their names."""
    return [Domain(*row) for row in db.execute("SELECT name, kind, catch_all, next_hop FROM domain ORDER BY name")]


def add_alias(db: Database, address: str, targets: Sequence[str]) -> None:
    """Let an address stand for others, besides those it stands for already.

    Raises ExistsError if it is an account's, StoreError for bad addresses or more than MAX_TARGETS.
    """
    key = address_key(address)
    if get_account(db, key) is not None:
        raise ExistsError(f"{key} is an account")
    _refuse_list(db, key)
    db.executemany("INSERT OR IGNORE INTO alias VALUES (?, ?)", [(key, address_key(target)) for target in targets])
    if len(get_alias(db, key)) > MAX_TARGETS:
        raise StoreError(f"an alias has at most {MAX_TARGETS} targets")
    db.touch_directory()


def remove_alias(db: Database, address: str, target: str | None = None) -> None:
    """Remove one target of an alias, or all. Raises NotFoundError if there is none."""
    key = address_key(address)
    if target is None:
        count = db.execute("DELETE FROM alias WHERE address = ?", (key,)).rowcount
    else:
        count = db.execute("DELETE FROM alias WHERE address = ? AND target = ?", (key, address_key(target))).rowcount
    if not count:
        raise NotFoundError(f"no alias {address}")
    db.touch_directory()


def get_alias(db: sqlite3.Connection, address: str) -> tuple[str, ...]:
    """The addresses that an alias stands for, or none."""
    rows = db.execute("SELECT target FROM alias WHERE address = ? ORDER BY target", (address,))
    return tuple(target for (target,) in rows)


def list_aliases(db: sqlite3.Connection) -> list[tuple[str, tuple[str, ...]]]:
    """All aliases with their targets, in the order of the addresses."""
    found: dict[str, list[str]] = {}
    for address, target in db.execute("SELECT address, target FROM alias ORDER BY address, target"):
        found.setdefault(address, []).append(target)
    return [(address, tuple(targets)) for address, targets in found.items()]


def _refuse_list(db: sqlite3.Connection, key: str) -> None:
    if db.execute("SELECT 1 FROM list WHERE address = ?", (key,)).fetchone():
        raise ExistsError(f"{key} is a list")


def _domain(name: str) -> str:
    try:
        return domain_key(normal_domain(name))
    except AddressError as error:
        raise StoreError(f"{name!r} is no domain: {error}") from error


def _set(db: Database, name: str, column: str, value: int | str) -> None:
    account = require_account(db, name)
    db.execute(f"UPDATE account SET {column} = ? WHERE id = ?", (value, account.id))
    db.touch_directory()


def _one(db: sqlite3.Connection, condition: str, parameter: int | str) -> Account | None:
    row = db.execute(f"{_ACCOUNT} WHERE {condition}", (parameter,)).fetchone()
    return None if row is None else _account(row)


def _account(row: tuple[int, str, int, int, int, str, int, int, str]) -> Account:
    account_id, name, quota, used, enabled, redirect, weak, keep, language = row
    return Account(account_id, name, quota, used, bool(enabled), redirect, bool(weak), bool(keep), language)
