"""How far this machine's wall clock can be trusted. Small boards have no clock that runs while they are off.

`unset`: the clock says something impossible; nothing is decided by it. `plausible`: it cannot be far wrong (a time
saved before the last stop, a battery-backed clock), good for certificates, not for counting how long mail has waited.
`synced`: a time server has confirmed it. Without anybody who watches the clock it counts as synced.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

TimeState: TypeAlias = Literal["unset", "plausible", "synced"]

WORDS: dict[TimeState, str] = {
    "unset": "not set; mail is taken and sent, and nothing expires until it is",
    "plausible": "not confirmed by a time server yet; mail does not age meanwhile",
    "synced": "confirmed by a time server",
}
