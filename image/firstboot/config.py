"""`[setup]` of the first-boot file: what is done once, before mail starts. Palomar itself never sees this table."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting
from appliance.document import dotted
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address

MIN_PASSWORD = 8  # characters, as `palomar account add` wants them
MAX_SSH_KEYS = 50
MAX_ACCOUNTS = 100
STORED = re.compile(r"\(stored(?: ([0-9a-f]{8}))?\)")
"""What stands in place of a secret that was moved to the data partition; secrets of settings have a number."""

_ARGON2ID = "$argon2id$"
_OTHER_HASH = re.compile(r"\$[0-9a-z]{1,16}\$.+\$.+")
_SSH_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-[a-z0-9@.-]+) ([A-Za-z0-9+/=]+)( .*)?")
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")
_LOCALE = re.compile(r"(?:C|[a-z]{2,3}_[A-Z]{2})(?:\.UTF-8)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountSetup:
    """[[setup.accounts]]"""

    name: str = setting("", "The account's address, which is its login.")
    password: str = setting("", "Its password, or what `palomar account hash` prints.", secret=True)

    def problems(self) -> Iterator[Problem]:
        """Names that are no address, and passwords that Palomar would not take."""
        try:
            Address.parse(self.name)
        except AddressError as error:
            yield Problem("name", f"{self.name!r} is no mail address: {error}.", 'Write it like "ana@example.org".')
        if not self.password:
            yield Problem("password", "must be set.", "Write a password, or a hash from `palomar account hash`.")
        elif self.is_stored or self.is_hash:
            return
        elif _OTHER_HASH.fullmatch(self.password):
            text = "is a hash of a kind that mail logins cannot use."
            yield Problem("password", text, "Write the password, or a hash from `palomar account hash`.")
        elif len(self.password) < MIN_PASSWORD:
            yield Problem("password", f"has fewer than {MIN_PASSWORD} characters.", "Choose a longer one.")
        elif not self.password.isprintable():
            yield Problem("password", "has a control character.", "Write it in one line.")

    @property
    def is_stored(self) -> bool:
        """Whether it was taken at an earlier start."""
        return STORED.fullmatch(self.password) is not None

    @property
    def is_hash(self) -> bool:
        """Whether the password itself is not there, only what can check it."""
        return self.password.startswith(_ARGON2ID)


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupConfig:
    """[setup]"""

    ssh_keys: tuple[str, ...] = setting(
        (), "Public keys that may log in as admin by SSH. Without any there is no SSH; there is never a password."
    )
    time_zone: str = setting("", 'Where the appliance stands, such as "Europe/Madrid"; empty is UTC.')
    locale: str = setting("", 'Language and country, such as "es_ES".')
    accounts: tuple[AccountSetup, ...] = setting((), "Mail accounts to make, or whose passwords to set anew.")

    def problems(self) -> Iterator[Problem]:
        """Keys that are none, places that are none, accounts named twice, too many of anything."""
        for place, key in enumerate(self.ssh_keys):
            yield from ssh_key_problems(f"ssh_keys[{place}]", key)
        if len(self.ssh_keys) > MAX_SSH_KEYS:
            yield Problem("ssh_keys", f"has more than {MAX_SSH_KEYS} keys.", "Keep those of people who need it.")
        if self.time_zone and not _ZONE.fullmatch(self.time_zone):
            yield Problem("time_zone", f"{self.time_zone!r} is no time zone.", 'Write it like "Europe/Madrid".')
        if self.locale and not _LOCALE.fullmatch(self.locale):
            yield Problem("locale", f"{self.locale!r} is no locale.", 'Write it like "es_ES".')
        if len(self.accounts) > MAX_ACCOUNTS:
            yield Problem(
                "accounts", f"has more than {MAX_ACCOUNTS} accounts.", "Make the others by `palomar account`."
            )
        seen: set[str] = set()
        for place, account in enumerate(self.accounts):
            if account.name.lower() in seen:
                yield Problem(dotted("accounts", place, "name"), f"{account.name} is there twice.", "Take one out.")
            seen.add(account.name.lower())


def ssh_key_problems(name: str, text: str) -> Iterator[Problem]:
    """Check one line of an authorized_keys file, without options (RFC 4253 section 6.6)."""
    remedy = 'Paste the one line of the file that ends in .pub, as in ssh_keys = ["ssh-ed25519 AAAA… ana@desk"].'
    if "PRIVATE KEY" in text:
        yield Problem(name, "is a private key, which must stay where it is.", remedy)
        return
    found = _SSH_KEY.fullmatch(text.strip())
    if found is None or not text.isprintable():
        yield Problem(name, "is no public SSH key.", remedy)
        return
    try:
        blob = base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    kind = found[1].encode()
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind) or len(blob) < len(kind) + 36:
        yield Problem(name, "is a public SSH key of which a part is missing.", remedy)
