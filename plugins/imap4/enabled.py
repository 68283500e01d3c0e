"""What a client has switched on for its connection: it decides how it is spoken to (RFC 5161)."""

from __future__ import annotations

from dataclasses import dataclass

# The names as CAPABILITY has them, and what each switches on.
_SWITCHES: dict[str, tuple[str, ...]] = {
    "CONDSTORE": ("condstore",),
    "QRESYNC": ("condstore", "qresync"),
    "UIDONLY": ("uidonly",),
    "UTF8=ACCEPT": ("utf8",),
    "IMAP4rev2": ("rev2", "utf8"),
}
_BY_WORD = {name.upper(): name for name in _SWITCHES}


@dataclass(slots=True)
class Enabled:
    """One flag for each difference. None is ever switched off again, except all by UNAUTHENTICATE."""

    condstore: bool = False  # MODSEQ in all unasked FETCH responses (RFC 7162 section 3.1)
    qresync: bool = False  # VANISHED in place of EXPUNGE (RFC 7162 section 3.2)
    uidonly: bool = False  # no message numbers at all (RFC 9586)
    rev2: bool = False  # IMAP4rev2: nothing is \Recent, SEARCH is answered by ESEARCH, … (RFC 9051 appendix E)
    utf8: bool = False  # mailbox names are UTF-8 on the wire

    def switch_on(self, word: str, offered: frozenset[str]) -> str | None:
        """Switch on what ENABLE names, if it is offered; returns the name as CAPABILITY has it, else None."""
        name = _BY_WORD.get(word.upper())
        if name is None or name not in offered:
            return None
        for flag in _SWITCHES[name]:
            setattr(self, flag, True)
        return name

    @property
    def vanished(self) -> bool:
        """Whether removed messages are told by their UIDs."""
        return self.qresync or self.uidonly
