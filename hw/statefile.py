"""The state for others on this machine, as a file, and the sign that there is news in it.

The sign is a file of its own, which whoever reads the news takes away first: systemd's `PathExists` then starts the
reader again if there was more meanwhile. A watch of the state itself (`PathChanged`) sleeps while the reader runs.
"""

from __future__ import annotations

from pathlib import Path

from hw.messages import State, encode
from hw.resolv import write_whole

STATE, NEWS = "state.json", "news"


def write_state(folder: Path, state: State) -> None:
    """Write the state, and then the sign. Raises OSError."""
    write_whole(folder / STATE, encode(state))
    (folder / NEWS).touch()
