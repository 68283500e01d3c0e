"""A command that is refused for its argument."""

from __future__ import annotations

from appliance.errors import ApplianceError
from appliance.mail.reply import Reply


class RefusedError(ApplianceError):
    """A command is refused; `reply` is the answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def bad_value(key: str, enhanced: str = "5.5.4") -> RefusedError:
    """A parameter whose value does not follow its grammar."""
    return RefusedError(Reply(501, enhanced, f"Bad value of {key}"))


def unknown_parameter(key: str) -> RefusedError:
    """A parameter of an extension that is not on offer (RFC 5321 section 4.1.1.11)."""
    return RefusedError(Reply(555, "5.5.4", f"Parameter {key} is not supported"))
