"""What commands can ask of the appliance: one module per subject, each with its `CALLS`.

A call is an `async def handler(core, *, …)`, or an asynchronous generator for an answer in pieces. The same handlers
serve the control socket of a running appliance and a command that has opened the store itself.
"""

from __future__ import annotations

from appliance.control import Call, registry


def all_calls() -> dict[str, Call]:
    """Every call by its name."""
    from appliance.calls import accounts, domains, mailboxes, queue, reports, submission, transfer

    modules = (accounts, domains, mailboxes, queue, reports, submission, transfer)
    return registry({name: handler for module in modules for name, handler in module.CALLS.items()})
