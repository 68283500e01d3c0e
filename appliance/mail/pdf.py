"""The text of a PDF file (ISO 32000-2), for searching. Only for `appliance.worker`: its parser is not to be trusted.

Needs the extra `palomar[pdf]`.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib
import io
import logging
import pkgutil
from collections.abc import Iterator

import pypdf

MAX_PAGES = 1000

# A worker can open no file when it runs: the codecs that a PDF may name, and all of pypdf, are loaded now.
_CODECS = (
    "ascii", "big5", "charmap", "cp1252", "cp932", "cp949", "cp950", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk",
    "iso2022_jp", "latin_1", "mac_roman", "shift_jis", "utf_16", "utf_16_be", "utf_16_le", "utf_8",
)  # fmt: skip
for _name in _CODECS:
    codecs.lookup(_name)
for _module in pkgutil.walk_packages(pypdf.__path__, "pypdf."):
    with contextlib.suppress(ImportError):  # of what is there for libraries that are not installed
        importlib.import_module(_module.name)
logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)  # what it thinks of a stranger's file is of no interest


def pdf_text(octets: bytes) -> Iterator[bytes]:
    """The text of each page, as UTF-8. Raises whatever the parser does; a file that needs a password has no text."""
    reader = pypdf.PdfReader(io.BytesIO(octets), strict=False)  # tries the empty password
    for place, page in enumerate(reader.pages):
        if place == MAX_PAGES:
            return
        yield page.extract_text().encode("utf-8", "replace") + b"\n"
