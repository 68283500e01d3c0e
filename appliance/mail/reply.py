"""An SMTP reply as one checked value (RFC 5321 section 4.2, RFC 3463)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True, slots=True)
class Reply:
    """Code, enhanced status and public text; `reason` is for our log and trace only, never for the peer.

    `enhanced` may be empty where RFC 2034 gives none (greeting, EHLO, 3yz). The class of the enhanced status must
    be the first digit of the code, which is checked. `text` may hold several lines, separated by newlines.
    """

    code: int
    enhanced: str
    text: str
    reason: str = ""

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"no SMTP reply code: {self.code}")
        if self.enhanced and (not _ENHANCED.fullmatch(self.enhanced) or self.enhanced[0] != str(self.code)[0]):
            raise ValueError(f"enhanced status {self.enhanced} does not go with code {self.code}")
        if "\r" in self.text or "\0" in self.text:
            raise ValueError("CR or NUL in a reply text")

    @property
    def positive(self) -> bool:
        """2yz."""
        return self.code < 300

    @property
    def temporary(self) -> bool:
        """4yz: the same may work later."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5yz: the same will not work later."""
        return self.code >= 500

    def __bytes__(self) -> bytes:
        """The reply as it goes over the wire, with its line ends."""
        status = f"{self.enhanced} " if self.enhanced else ""
        lines = self.text.split("\n")
        out = [f"{self.code}-{status}{line}\r\n" for line in lines[:-1]]
        out.append(f"{self.code} {status}{lines[-1]}\r\n")
        return "".join(out).encode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}".replace("  ", " ")


def most_severe(replies: list[Reply]) -> Reply | None:
    """The reply with the highest code class: 5yz before 4yz before 2yz; the first of equals."""
    worst: Reply | None = None
    for reply in replies:
        if worst is None or reply.code // 100 > worst.code // 100:
            worst = reply
    return worst
