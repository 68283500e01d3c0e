"""Licence names, as Debian and Python packages write them, as SPDX expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

NOT_TOLD = "NOASSERTION"
MAX_EXPRESSION = 500
MAX_DEPTH = 10

# SPDX identifiers that are used as they are, whatever their case.
_NAMES = """
0BSD AFL-2.1 AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-2.0 Artistic-1.0 Artistic-1.0-Perl Artistic-2.0 BSD-1-Clause
BSD-2-Clause BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC BSL-1.0 bzip2-1.0.6 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0
CC0-1.0 curl FSFAP FSFUL FSFULLR GFDL-1.2-or-later GFDL-1.3-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only
GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND ICU ISC LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only
LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later Libpng MIT MIT-0 MPL-1.1 MPL-2.0 NTP OLDAP-2.8 OpenSSL PSF-2.0
Python-2.0 Ruby TCL Unicode-DFS-2016 Unlicense W3C WTFPL X11 Zlib blessing
"""
_SAME = _NAMES.split()
_OTHER = {
    "expat": "MIT",
    "mit/x11": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "boost-1.0": "BSL-1.0",
    "bsl": "BSL-1.0",
    "cc0": "CC0-1.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-1.1+": "MPL-1.1",
    "python": "Python-2.0",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "zlib/libpng": "Zlib",
    "gfdl-1.3": "GFDL-1.3-or-later",
    "gfdl-1.2+": "GFDL-1.2-or-later",
    "gfdl-1.3+": "GFDL-1.3-or-later",
}
_GNU = re.compile(r"(a?l?gpl)-?v?([123])(?:\.([01]))?(\+)?", re.IGNORECASE)
_EXCEPTIONS = {
    "autoconf exception": "Autoconf-exception-2.0",
    "bison exception": "Bison-exception-2.2",
    "classpath exception": "Classpath-exception-2.0",
    "gcc exception": "GCC-exception-3.1",
    "gcc-runtime-library exception": "GCC-exception-3.1",
    "libtool exception": "Libtool-exception",
    "linux-syscall-note exception": "Linux-syscall-note",
}
_TABLE = {name.lower(): name for name in _SAME} | _OTHER
_WORDS = re.compile(r"\s*(\(|\)|,|[^\s(),]+)")


def known(name: str) -> str | None:
    """The SPDX identifier for one licence's name, or None."""
    plain = " ".join(name.lower().split())
    if plain in _TABLE:
        return _TABLE[plain]
    if match := _GNU.fullmatch(plain):
        family, major, minor, later = match.groups()
        if family.upper() not in {"GPL", "LGPL", "AGPL"}:
            return None
        spdx = f"{family.upper()}-{major}.{minor or 0}-{'or-later' if later else 'only'}"
        return spdx if spdx in _SAME else None
    return None


@dataclass(slots=True)
class Extracted:
    """Licences that SPDX has no identifier for, by the reference that stands for them in this document."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)  # reference → (name, text)

    def reference(self, owner: str, name: str, text: str) -> str:
        """A reference for `name` as `owner` uses it: other packages may mean other texts by the same name."""
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", f"{owner}-{name}").strip("-.")[:120]
        reference = f"LicenseRef-{slug}"
        self.texts.setdefault(reference, (name, text or f"{owner} names its licence {name!r} and gives no text."))
        return reference


class _Reader:
    """DEP-5's short form: names joined by `and` and `or`; a comma before either binds weaker."""

    def __init__(self, text: str, name: Callable[[str], str]) -> None:
        self._words = _WORDS.findall(text)
        self._at = 0
        self._name = name

    def _peek(self, ahead: int = 0) -> str:
        place = self._at + ahead
        return self._words[place].lower() if place < len(self._words) else ""

    def weak(self, depth: int = 0) -> str:
        parts, word = [self.strong("or", depth)], ""
        while self._peek() == "," and self._peek(1) in {"or", "and"}:
            word = word or self._peek(1)
            if self._peek(1) != word:
                raise ValueError("and, or mixed behind commas")
            self._at += 2
            parts.append(self.strong("or", depth))
        return _join(parts, word)

    def strong(self, word: str, depth: int) -> str:
        below = "and" if word == "or" else ""
        parts = [self.strong(below, depth) if below else self.single(depth)]
        while self._peek() == word:
            self._at += 1
            parts.append(self.strong(below, depth) if below else self.single(depth))
        return _join(parts, word)

    def single(self, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        if self._peek() == "(":
            self._at += 1
            inner = self.weak(depth + 1)
            if self._peek() != ")":
                raise ValueError("a parenthesis is open")
            self._at += 1
            return inner
        start = self._at
        while self._peek() and self._peek() not in {"and", "or", ",", "(", ")"}:
            self._at += 1
        if start == self._at:
            raise ValueError("a name is missing")
        return self._name(" ".join(self._words[start : self._at]))

    @property
    def ended(self) -> bool:
        return self._at == len(self._words)


def _join(parts: list[str], word: str) -> str:
    unique = list(dict.fromkeys(parts))
    if len(unique) == 1:
        return unique[0]
    return f" {word.upper()} ".join(_wrapped(part) for part in unique)


def _wrapped(part: str) -> str:
    return f"({part})" if re.search(r" (AND|OR) ", part) else part


def debian_expression(owner: str, line: str, text: str, extracted: Extracted) -> str:
    """One licence line of a DEP-5 file as an SPDX expression. What has no SPDX name becomes a reference."""

    def name(words: str) -> str:
        licence, _, exception = words.lower().partition(" with ")
        spdx = known(licence)
        if spdx and not exception:
            return spdx
        if spdx and (found := _EXCEPTIONS.get(exception.strip())):
            return f"{spdx} WITH {found}"
        return extracted.reference(owner, words, text)

    if len(line) > MAX_EXPRESSION:
        return extracted.reference(owner, line[:80], text)
    reader = _Reader(line, name)
    try:
        expression = reader.weak()
    except ValueError:
        return extracted.reference(owner, line, text)
    return expression if reader.ended else extracted.reference(owner, line, text)


def all_of(expressions: Iterable[str]) -> str:
    """The conjunction of the expressions, sorted, each once."""
    unique = sorted(set(expressions))
    if len(unique) < 2:
        return unique[0] if unique else NOT_TOLD
    return " AND ".join(_wrapped(each) for each in unique)


def python_expression(expression: str, licence: str, classifiers: Iterable[str]) -> str:
    """A Python distribution's licence: PEP 639's expression, else a known name, else what the classifiers say."""
    if expression and len(expression) <= MAX_EXPRESSION:
        words = re.findall(r"[^\s()]+", expression)
        names = [word for word in words if word.upper() not in {"AND", "OR", "WITH"}]
        if names and all(known(word) for word in names):
            return " ".join(expression.split())
        return NOT_TOLD
    if licence and len(licence) <= MAX_EXPRESSION and (spdx := known(licence)):
        return spdx
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: OSI Approved :: ")]
    found = [known(name) for name in named]
    return all_of(name for name in found if name) if found and all(found) else NOT_TOLD
