"""Patterns that take linear time, whatever they are matched against: google-re2, an extra.

Python's own `re` goes back and tries again; a rule such as `(a+)+$` and a sender who knows it could stop all mail.
"""

from __future__ import annotations

from typing import Protocol

from appliance.errors import ApplianceError

MAX_PATTERN = 1000  # characters
MAX_MEMORY = 1 << 20  # octets that one pattern may take, compiled and at work; above it, it is slower, not larger


class PatternError(ApplianceError):
    """A pattern that cannot be used. The text is a clause for people."""


class Match(Protocol):
    """Where a pattern was found."""

    def group(self, number: int) -> str: ...


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> Match | None: ...


def compiled(pattern: str, *, any_case: bool) -> Pattern:
    """Raises PatternError."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it has more than {MAX_PATTERN} characters")
    try:
        import re2  # an extra, and 15 ms: only those who have rules need it
    except ImportError:
        raise PatternError("the library for it is not installed: pip install 'palomar[re2]'") from None
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    options.case_sensitive = not any_case
    try:
        found: Pattern = re2.compile(pattern, options)
    except UnicodeEncodeError:
        raise PatternError("it is no text") from None
    except re2.error as error:
        words = error.args[0] if error.args else b""
        raise PatternError(words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)) from None
    return found
