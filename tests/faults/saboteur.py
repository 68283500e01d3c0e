"""Writes a plugin that misbehaves at the hook it is told to, in the way it is told to, each time anew."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from appliance import hookspecs

NAME = "saboteur"
DEADLINE_S = 0.75  # of every hook, instead of 10 to 120 s; what other plugins do there must have ended by then, too
HANGS_S = 30.0

HOOKS = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "rule_combine")}
AWAITED = [name for name, spec in HOOKS.items() if inspect.iscoroutinefunction(spec)]
# What hardware, a server behind us, or another plugin brings about.
BY_OTHERS = {"network_changed", "known_recipients", "known_sender", "message_released"}
AT_START = [name for name in HOOKS if name not in AWAITED]

_HEAD = '''
"""Does no good."""
import asyncio, json, sys
from pathlib import Path
from appliance import hookspecs
from appliance.hookspecs import hookimpl
from appliance.mail.finding import Finding
from appliance.mail.reply import Reply

ORDERS = Path(__file__).with_name("orders.json")
YES = Reply(250, "2.0.0", "Come in")
NONSENSE = {"number": 42, "text": "yes", "mixed list": [None, 7], "object": object(), "yes": YES}

async def misbehave(hook):
    orders = json.loads(ORDERS.read_text())
    if orders.get("hook") != hook:
        return [Finding("calm", "neutral")] if hook == "score_message" else None
    return await asyncio.sleep(0, spoil(orders["how"])) if orders["how"] != "hang" else await asyncio.sleep(HANGS)

def spoil(how):
    if how == "raise":
        raise RuntimeError("sabotage")
    if how == "exit":
        sys.exit("sabotage")
    if how == "cancel":
        raise asyncio.CancelledError
    return NONSENSE[how]
'''

_AWAITED = """
@hookimpl(tryfirst=True)
async def {hook}():
    return await misbehave("{hook}")

hookspecs.{hook}.rule_deadline = {deadline}
"""

_AT_START = """
@hookimpl
def {hook}():
    orders = json.loads(ORDERS.read_text())
    return spoil(orders["how"]) if orders.get("hook") == "{hook}" else ()
"""


class Saboteur:
    """The plugin in `folder`, and its orders beside it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._orders = folder / "orders.json"
        self.folder = folder
        self.behave()
        text = _HEAD.replace("HANGS)", f"{HANGS_S})")
        text += "".join(_AWAITED.format(hook=hook, deadline=DEADLINE_S) for hook in AWAITED)
        text += "".join(_AT_START.format(hook=hook) for hook in AT_START)
        (folder / f"{NAME}.py").write_text(text)

    def order(self, hook: str, how: str) -> None:
        """From now on, misbehave at that hook."""
        self._orders.write_text(json.dumps({"hook": hook, "how": how}))

    def behave(self) -> None:
        """From now on, have no opinion."""
        self._orders.write_text("{}")
