"""The settings of the attachment policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.errors import Problem

# What Windows runs at a double click, and disk images in which such files hide.
PROGRAMS = (
    "ade", "adp", "apk", "appx", "bat", "chm", "cmd", "com", "cpl", "dll", "exe", "gadget", "hta", "img", "ins",
    "iso", "isp", "jar", "js", "jse", "lib", "lnk", "mde", "msc", "msi", "msp", "mst", "nsh", "pif", "ps1", "reg",
    "scr", "sct", "shb", "sys", "vb", "vbe", "vbs", "vhd", "vhdx", "vxd", "wsc", "wsf", "wsh", "xll",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class AttachmentsConfig:
    """[spam.attachments]"""

    forbidden: tuple[str, ...] = setting(PROGRAMS, "Endings of names that no attachment may have, in archives neither.")
    action: Literal["refuse", "quarantine", "junk"] = setting("refuse", "What happens to a message with one of them.")
    encrypted_score: float = setting(3.0, "Weight of an archive that is encrypted, so that nobody can look into it.")
    disguised_score: float = setting(4.0, "Weight of a name with two endings that pretends to be something else.")
    macros_score: float = setting(3.0, "Weight of an Office document that brings macros.")
    on_macros: Literal["refuse", "quarantine", "junk", "score"] = setting(
        "score", "What happens to a message with one of those; score adds macros_score alone."
    )
    bomb_score: float = setting(8.0, "Weight of an archive that would become absurdly large.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and endings with a dot."""
        yield from within(self, -100, 100, "encrypted_score", "disguised_score", "macros_score", "bomb_score")
        for ending in self.forbidden:
            if not ending or not ending.isalnum():
                yield Problem(
                    "forbidden", f"{ending!r} is no ending of a name.", 'Write it without the dot, as in "exe".'
                )
