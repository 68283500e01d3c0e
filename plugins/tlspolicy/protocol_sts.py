"""MTA-STS on paper: the TXT record and the policy (RFC 8461 sections 3.1, 3.2, 4.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from appliance.errors import ApplianceError

MAX_POLICY: Final = 65536  # octets (section 3.3 advises this)
MAX_MX: Final = 256  # patterns of one policy
MAX_AGE_S: Final = 31_557_600  # a year (section 3.2)

Mode = Literal["enforce", "testing", "none"]

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=[ \t]*([\x21-\x3a\x3c\x3e-\x7e]++)")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_PATTERN = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DIGITS = re.compile(r"[0-9]{1,10}")


class StsError(ApplianceError):
    """The record or the policy is not as the RFC wants it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain asks of those who send to it. `mx` are patterns in lower case; `max_age` is in seconds."""

    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def admits(self, host: str) -> bool:
        """Whether a host may be an exchanger: `*.` stands for exactly one label (section 4.1)."""
        name = host.rstrip(".").lower()
        return name in self.mx or f"*.{name.partition('.')[2]}" in self.mx

    def lines(self) -> list[str]:
        """The policy as a file has it."""
        head = ["version: STSv1", f"mode: {self.mode}"]
        return [*head, *(f"mx: {one}" for one in self.mx), f"max_age: {self.max_age}"]


def record_id(texts: Sequence[bytes]) -> str | None:
    """The id in the TXT records of `_mta-sts.DOMAIN`; None without a record. Raises StsError on one that is broken.

    Records of other kinds are passed over; with more than one of ours there is no policy (section 3.1).
    """
    ours = [text for text in texts if re.match(rb"v=STSv1[ \t]*(?:;|\Z)", text)]
    if len(ours) != 1:
        return None
    pieces = [piece.strip(" \t") for piece in ours[0].decode("ascii", "replace").split(";")]
    if pieces[-1] == "":
        pieces.pop()
    found = [_FIELD.fullmatch(piece) for piece in pieces[1:]]
    ids = [match[2] for match in found if match is not None and match[1] == "id"]
    if None in found or len(ids) != 1 or not _ID.fullmatch(ids[0]):
        raise StsError("the TXT record of _mta-sts has no proper id")
    return ids[0]


def parse_policy(body: bytes) -> Policy:
    """Read a policy file. Raises StsError.

    Unknown keys are passed over; of a key that stands twice, but for mx, the first counts (section 3.2).
    """
    if len(body) > MAX_POLICY:
        raise StsError(f"the policy has more than {MAX_POLICY} octets")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StsError("the policy is no UTF-8") from error
    values: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"):
        key, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if not colon or not _KEY.fullmatch(key):
            raise StsError(f"{line!r:.60} is no line of a policy")
        if key == "mx":
            patterns.append(_pattern(value))
        else:
            values.setdefault(key, value)
    return _checked(values, patterns)


def _pattern(value: str) -> str:
    name = value.lower().rstrip(".")
    if len(name) > 255 or not _PATTERN.fullmatch(name):
        raise StsError(f"mx: {value!r:.60} is no host name")
    return name


def _checked(values: dict[str, str], patterns: list[str]) -> Policy:
    if values.get("version") != "STSv1":
        raise StsError("the policy has no version: STSv1")
    mode = values.get("mode", "")
    if mode not in get_args(Mode):
        raise StsError(f"the policy has no proper mode, but {mode!r:.20}")
    age = values.get("max_age", "")
    if not _DIGITS.fullmatch(age):
        raise StsError("the policy has no proper max_age")
    if not patterns and mode != "none":
        raise StsError("the policy names no mx")
    if len(patterns) > MAX_MX:
        raise StsError(f"the policy names more than {MAX_MX} mx")
    return Policy(mode, tuple(dict.fromkeys(patterns)), min(int(age), MAX_AGE_S))  # type: ignore[arg-type]
