"""What the status overview says of lists of recipients."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.core import Core
from appliance.hookspecs import StatusLine
from plugins.peers.config import PeersConfig
from plugins.peers.schema import kept_lists

DAY_S = 86_400
WARN_SHARE = 0.5  # of the time that a list may be unconfirmed; then somebody should look


def lines(core: Core) -> Iterator[StatusLine]:
    """One line for each list that servers behind us have brought, and for each that has brought none."""
    config = core.settings[PeersConfig]
    kept = core.store.peek(kept_lists)
    for behind in config.behind:
        found = [one for one in kept if one.peer == behind.name.lower()]
        if (behind.secret or behind.secret_file) and not found:
            yield "recipients", f"{behind.name} has brought no list yet", "warning"
        for one in found:
            days = max(0.0, core.now() - one.confirmed_at) / DAY_S
            text = f"{one.domain} from {behind.name}, confirmed {days:.1f} days ago"
            old = core.time_state == "synced" and days >= WARN_SHARE * config.stale_after_days
            yield ("recipients", text, "warning") if old else ("recipients", text)
