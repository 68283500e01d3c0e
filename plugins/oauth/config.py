"""The settings of logins by access tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from appliance.config import domain_name, setting, within
from appliance.document import dotted
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address

DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True, kw_only=True, slots=True)
class Issuer:
    """[oauth.issuers.NAME]"""

    issuer: str = setting("", 'Who makes the tokens, letter by letter as their "iss" says it.')
    audience: tuple[str, ...] = setting(
        (), 'Whom tokens must be made for: one of these must be in their "aud", or tokens for other services would do.'
    )
    keys_url: str = setting(
        "", f"Where the issuer's keys are (JWKS); empty asks the issuer, at {DISCOVERY} below its own URL."
    )
    keys_file: Path | None = setting(None, "A file with the issuer's keys (JWKS), instead of asking for them.")
    keys_lifetime: float = setting(
        3600.0, "Seconds for which keys are used before they are asked for anew; those of a key not known come at once."
    )
    algorithms: tuple[Literal["RS256", "ES256", "EdDSA"], ...] = setting(
        ("RS256", "ES256", "EdDSA"), "Signatures that are believed; each goes with its own kind of key and no other."
    )
    scopes: tuple[str, ...] = setting((), "Scopes that a token must have, all of them.")
    claim: str = setting("email", "The claim that says whose login it is.")
    domain: str = setting("", 'Domain to add to a claim without one: "ana" becomes "ana@" and this.')
    accounts: dict[str, str] = setting(
        {}, "Accounts of claims that are no account's name, as a table: claim = account."
    )
    leeway: float = setting(60.0, "Seconds by which the issuer's clock may differ from ours.")

    def problems(self) -> Iterator[Problem]:
        """What is missing, and what would let in whom nobody means."""
        if not self.issuer:
            yield Problem("issuer", "is missing.", 'Write what stands as "iss" in its tokens.')
        elif self.keys_file is None and not self.keys_url and not is_https(self.issuer):
            yield Problem("issuer", "is no https URL that could be asked for keys.", "Set keys_url or keys_file.")
        if not self.audience or not all(self.audience):
            text = "is missing: a token that another service got would be a login here."
            yield Problem("audience", text, 'Write what stands as "aud" in the tokens for mail.')
        if self.keys_url and self.keys_file is not None:
            yield Problem("keys_url", "and keys_file are both set.", "Take one of them out.")
        if self.keys_url and not is_https(self.keys_url):
            yield Problem("keys_url", f"{self.keys_url!r} is no https URL.", "Keys that come unsealed prove nothing.")
        if not self.claim:
            yield Problem("claim", "is empty.", 'Name the claim with the address, such as "email".')
        if not self.algorithms:
            yield Problem("algorithms", "is empty.", "Take the line out to have all of them.")
        if self.domain:
            yield from domain_name("domain", self.domain)
        for claim, account in self.accounts.items():
            try:
                Address.parse(account)
            except AddressError as error:
                yield Problem(dotted("accounts", claim), f"{account!r}: {error}.", "Write the account's name.")
        yield from within(self, 0, 600, "leeway", unit="s")
        yield from within(self, 60, 604_800, "keys_lifetime", unit="s")

    @property
    def discovery_url(self) -> str:
        """Where clients and we learn about the issuer (OpenID Connect Discovery 1.0 section 4)."""
        return self.issuer.rstrip("/") + DISCOVERY if is_https(self.issuer) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class OAuthConfig:
    """[oauth]"""

    mechanisms: tuple[Literal["OAUTHBEARER", "XOAUTH2"], ...] = setting(
        ("OAUTHBEARER", "XOAUTH2"), "What is offered: the standard's way (RFC 7628), and that of older programs."
    )
    issuers: dict[str, Issuer] = setting(
        {},
        "Who makes tokens, as tables [oauth.issuers.NAME]; clients are sent to the first. Without any, none is taken.",
    )

    def problems(self) -> Iterator[Problem]:
        """What is missing, and what stands twice."""
        if not self.mechanisms or len(set(self.mechanisms)) != len(self.mechanisms):
            text = "is empty or names something twice."
            yield Problem("mechanisms", text, "Take the line out to have both.")
        seen: dict[str, str] = {}
        for name, one in self.issuers.items():
            if one.issuer and one.issuer in seen:
                text = f"is the issuer of {seen[one.issuer]} as well."
                yield Problem(
                    dotted("issuers", name, "issuer"), text, "One table holds all that is asked of its tokens."
                )
            seen.setdefault(one.issuer, name)


def is_https(url: str) -> bool:
    """Whether a text is an https URL with a host, and without a user or a fragment."""
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    fits = url.isascii() and url.isprintable() and " " not in url
    return fits and port_fits and parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
