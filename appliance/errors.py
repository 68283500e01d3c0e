"""The errors that cross module borders. Everything Palomar raises on purpose is an `ApplianceError`."""

from __future__ import annotations

from dataclasses import dataclass


class ApplianceError(Exception):
    """Base of all errors that are part of our own contracts. `remedy` tells a person what to do, where we know."""

    remedy = ""


class ProtocolError(ApplianceError):
    """The peer broke a rule of the wire. The text is safe to show to that peer.

    `reply` may carry the wire bytes to answer before the connection is closed.
    """

    def __init__(self, text: str, *, reply: bytes = b"") -> None:
        super().__init__(text)
        self.reply = reply


class AddressError(ApplianceError):
    """A text is no mail address (RFC 5321 section 4.1.2, RFC 6531 section 3.3)."""


class MessageError(ApplianceError):
    """A message passes a named limit of the scanner and cannot be taken."""


class StoreError(ApplianceError):
    """The store refused an operation; nothing was changed."""


class StoreFullError(StoreError):
    """No room is left for new mail: the disk is full or the reserve is touched (SMTP 452)."""

    remedy = "Make room on the disk; deleting mail works."


class NotFoundError(StoreError):
    """The named account, mailbox, message or queue entry is not there."""


class ForbiddenError(StoreError):
    """The account lacks a right on what is another's."""


class ExistsError(StoreError):
    """Something of that name is there already."""


class HasChildrenError(StoreError):
    """The mailbox cannot go: there are others below it."""


class LimitError(StoreError):
    """There are as many of these as there may be."""


class QuotaError(StoreError):
    """The account's quota does not allow it (SMTP 552 5.2.2, IMAP OVERQUOTA)."""

    remedy = "Raise the quota (palomar account quota), or delete mail."


class PluginError(ApplianceError):
    """A plugin broke the contract of a hook. The text names the plugin and the hook."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration, and what to do about it.

    `setting` is the dotted name (`smtp.max_size`); `file` and `line` tell where it stands, when it stands anywhere.
    `text` and `remedy` are sentences.
    """

    setting: str
    text: str
    remedy: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}[{self.setting}] {self.text} {self.remedy}"


class ConfigError(ApplianceError):
    """The configuration cannot be used. Carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
