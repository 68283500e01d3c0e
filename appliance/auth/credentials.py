"""Verifiers of passwords: what is stored of them, how it is made, and how it is checked. All of it blocks."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from appliance.wire.sasl.prepare import prepare_password
from appliance.wire.sasl.scram import MAX_ITERATIONS, MIN_ITERATIONS, SHA1, SHA256, ScramVerifier

# OWASP's second choice for argon2id: 19 MiB suit a board with 1 GiB, and about 10 ms suit its processor.
ARGON2_PASSES = 2
ARGON2_MEMORY_KIB = 19 * 1024
SALT_OCTETS = 16
SCRAM_ITERATIONS = 15_000  # RFC 7677 section 4 asks for at least 4096; it is the client's work, once a login

MAX_ARGON2_MEMORY_KIB = 128 * 1024  # of a verifier made elsewhere: two logins at once must fit a small board
MAX_ARGON2_PASSES = 20
MAX_ARGON2_CHARACTERS = 127  # of a whole verifier, as libsodium reads them

ARGON2ID = "argon2id"
PLAIN = "plain"  # the password itself, prepared: CRAM-MD5 and APOP cannot do with less

_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>\d{1,7}),t=(?P<passes>\d{1,3}),p=\d{1,2}"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,171}"
)

# Of a password nobody has. Checking it takes as long as checking a real one.
_DUMMY = b"$argon2id$v=19$m=19456,t=2,p=1$cGFsb21hci1uby11c2Vy$HTU8HTy+xIlyqCm/bmoE/rsMKLnjIzXVWNQZYxqoplg"


@dataclass(frozen=True, slots=True)
class Credential:
    """One stored verifier of one login name. `data` never shows in a log."""

    kind: str  # argon2id, scram-sha-256, scram-sha-1 or plain
    account: str  # the account's name
    login: str  # the account's name, or that of an application password: "ana+phone@palomar.test"
    data: bytes = field(repr=False)
    label: str = ""  # of an application password: "phone"


def make_credentials(password: str, *, weak: bool = False) -> list[tuple[str, bytes]]:
    """Make the verifiers (kind, data) of a password; `weak` adds those an account must have opted in to.

    Takes some 30 ms and 19 MiB: not on the event loop (there, use `Authenticator.new_credentials`).
    Raises ValueError in words when the password is empty, too long, or holds characters that RFC 4013 prohibits.
    """
    prepared = prepare_password(password)
    salt = secrets.token_bytes(SALT_OCTETS)
    made = [
        (ARGON2ID, _argon2id(prepared)),
        (SHA256.kind, bytes(ScramVerifier.make(SHA256, prepared, salt, SCRAM_ITERATIONS))),
    ]
    if weak:
        salt = secrets.token_bytes(SALT_OCTETS)
        made.append((SHA1.kind, bytes(ScramVerifier.make(SHA1, prepared, salt, SCRAM_ITERATIONS))))
        made.append((PLAIN, prepared.encode()))
    return made


def read_verifiers(text: str) -> list[tuple[str, bytes]]:
    """Read verifiers that were made elsewhere, as `palomar account hash` writes them: argon2id, SCRAM-SHA-256 or both.

    They stand in one line with a space between them. Without argon2id there is no login by PLAIN. Raises ValueError
    in words, for verifiers that cost a login too much as well.
    """
    made: dict[str, bytes] = {}
    for part in text.split():
        if (found := _ARGON2ID.fullmatch(part)) is not None:
            if int(found["memory"]) > MAX_ARGON2_MEMORY_KIB or int(found["passes"]) > MAX_ARGON2_PASSES:
                raise ValueError(f"a login would take more than {MAX_ARGON2_MEMORY_KIB >> 10} MiB or too long")
            if len(part) > MAX_ARGON2_CHARACTERS:
                raise ValueError(f"an argon2id hash has at most {MAX_ARGON2_CHARACTERS} characters")
            made[ARGON2ID] = part.encode()
        elif part.startswith(SHA256.mechanism):
            verifier = ScramVerifier.parse(part.encode())
            if not MIN_ITERATIONS <= verifier.iterations <= MAX_ITERATIONS:
                raise ValueError(f"SCRAM iterations must be within {MIN_ITERATIONS}..{MAX_ITERATIONS}")
            made[SHA256.kind] = bytes(verifier)
        else:
            raise ValueError("this is no argon2id hash and no SCRAM-SHA-256 verifier")
    if ARGON2ID not in made:
        raise ValueError("there is no argon2id hash")
    return list(made.items())


def password_matches(stored: bytes | None, password: str) -> bool:
    """Whether a prepared password is the one of an argon2id verifier. None takes the same time and is never right."""
    from nacl.exceptions import InvalidkeyError
    from nacl.pwhash import argon2id

    try:
        return argon2id.verify(stored or _DUMMY, password.encode()) and stored is not None
    except (InvalidkeyError, ValueError):  # ValueError: a verifier that is too long
        return False


def _argon2id(password: str) -> bytes:
    from nacl.pwhash import argon2id

    return argon2id.str(password.encode(), opslimit=ARGON2_PASSES, memlimit=ARGON2_MEMORY_KIB << 10)


def get_ready() -> None:
    """Load the library that hashes: from a card that takes a while, which the first login should not have to wait."""
    import nacl.pwhash  # noqa: F401 - libsodium, some MiB that commands which check no password can do without
