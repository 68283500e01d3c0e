"""What commands can ask of the appliance: one module per subject, each with its `CALLS`.

A call is an `async def handler(core, *, …)`, or an asynchronous generator for an answer in pieces. The same handlers
serve the control socket of a running appliance and a command that has opened the store itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.control import Call, registry
from appliance.flusher import Flusher

if TYPE_CHECKING:
    from appliance.core import Core
    from appliance.dispatch import Dispatch


def learnt_for(core: Core, name: str) -> list[Flusher]:
    """What has to be read before a call that a plugin brings, and written after it, where no appliance runs."""
    if name not in {call for _, (call, _) in core.dispatch.gather("calls")}:
        return []
    return [one for _, one in core.dispatch.gather("services", core=core) if isinstance(one, Flusher)]


def all_calls(dispatch: Dispatch | None = None) -> dict[str, Call]:
    """Every call by its name, those of plugins included where they are loaded."""
    from appliance.calls import accounts, domains, holds, lists, mailboxes, queue, reports, submission, transfer

    modules = (accounts, domains, holds, lists, mailboxes, queue, reports, submission, transfer)
    own = {name: handler for module in modules for name, handler in module.CALLS.items()}
    theirs = [pair for _, pair in dispatch.gather("calls")] if dispatch is not None else []
    return registry({**dict(theirs), **own})
