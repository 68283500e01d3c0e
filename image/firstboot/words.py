"""What people's editors make of a small text file, and how to tell them. Pure: octets in, text or a Problem out."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from appliance.document import Document
from appliance.errors import ConfigError, Problem
from image.firstboot.places import MAX_FILE

_TYPOGRAPHIC = re.compile("[\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2032\u2033]")
_SAVE_AS = "Save it as UTF-8: in Notepad by 'Save as…', Encoding."
_FORMATS = (  # first octets of what is no text file
    (b"{\\rtf", "a Rich Text file"),
    (b"PK\x03\x04", "a document of a word processor"),
    (b"\xd0\xcf\x11\xe0", "a document of a word processor"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)


def document(data: bytes, name: str) -> Document:
    """Parse a file of the boot partition. Raises ConfigError whose problems have the line and a remedy."""
    text = decoded(data, name)
    try:
        return Document.parse(text, Path(name))
    except ConfigError as error:
        raise ConfigError([_explained(problem, text) for problem in error.problems]) from None


def decoded(data: bytes, name: str) -> str:
    """The text of a file. A byte-order mark of UTF-8 is passed over. Raises ConfigError in words."""
    if len(data) > MAX_FILE:
        raise _unfit(
            name, f"is larger than {MAX_FILE // 1024} KiB.", "Is it the right file? The template has some KiB."
        )
    for start, kind in _FORMATS:
        if data.lstrip().startswith(start):
            raise _unfit(name, f"is {kind}, not a plain text file.", "Use a text editor, such as Notepad or TextEdit.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _unfit(name, "is saved as UTF-16, which Windows calls Unicode.", _SAVE_AS)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise _unfit(name, "has NUL octets: it is damaged, or saved as UTF-16.", _SAVE_AS, line)
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        octet = error.object[error.start : error.start + 1]
        shown = octet.decode("cp1252", "replace")
        words = f"has a character that is not in UTF-8; in Windows' old encoding it would be {shown!r}."
        raise _unfit(name, words, _SAVE_AS, line) from None
    if "\r" in text.replace("\r\n", ""):
        line = text.replace("\r\n", "\n").split("\r")[0].count("\n") + 1
        raise _unfit(name, "ends lines by CR alone, as old Macs did.", "Save it with Unix or Windows line ends.", line)
    return text


def _explained(problem: Problem, text: str) -> Problem:
    """Add what the line shows to a person but not to a parser."""
    lines = text.splitlines()
    line = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
    remedy = problem.remedy
    if _TYPOGRAPHIC.search(line.partition("#")[0]):
        remedy = 'Write straight quotes ("), not the ones that word processors make.'
    elif "\u00a0" in line:
        remedy = "The line has a non-breaking space; write an ordinary one."
    elif re.match(r'\s*[A-Za-z_.]+\s*=\s*[^"\'\[{\d\s#+-]', line) and not re.search(r"=\s*(true|false)\b", line):
        remedy = 'Text goes in quotes, as in hostname = "mail.example.org".'
    elif re.match(r"\s*[A-Za-z_.]+\s*:", line):
        remedy = 'Write = between name and value, as in hostname = "mail.example.org".'
    return Problem(problem.setting, problem.text, remedy, problem.file, problem.line)


def _unfit(name: str, text: str, remedy: str, line: int = 0) -> ConfigError:
    return ConfigError([Problem("file", text, remedy, name, line)])
