"""Reading aggregate reports of others with caps (RFC 7489 appendix C, RFC 9990). Pure.

The XML is read by expat as a stream, one record at a time. Without a document type there are no entities, so none
that grow: a report with one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from appliance.errors import ApplianceError
from appliance.mail.packed import PackedError, gunzip, unzip_one
from appliance.mail.text import one_line

MAX_PACKED: Final = 1 << 20  # octets of a compressed report
MAX_REPORT: Final = 8 << 20  # octets of a report, unpacked
MAX_ROWS: Final = 10_000  # records of one report
MAX_DEPTH: Final = 12  # elements within elements
MAX_CHILDREN: Final = 200  # elements of one record that are looked at
MAX_TEXT: Final = 250  # characters of one value that are kept
_MAX_COUNT: Final = 1 << 40
_LATEST: Final = 1 << 40  # epoch seconds


class ReportError(ApplianceError):
    """It is no report, or passes a cap. Fit to be shown."""


@dataclass(frozen=True, slots=True)
class ReceivedRow:
    """What somebody tells about mail of one source."""

    source_ip: str
    count: int
    disposition: str
    dkim: str  # whether a signature was right and aligned: pass or fail
    spf: str
    header_from: str
    envelope_from: str
    reasons: str  # in words
    results: str  # of DKIM and SPF, in words


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """A report of somebody else's. `begin` and `end` are epoch seconds, as it says."""

    organization: str
    report_id: str
    domain: str
    policy: str
    begin: int
    end: int
    rows: tuple[ReceivedRow, ...]


def read_packed(data: bytes) -> ReceivedReport:
    """Read a report as it comes: in gzip, in a ZIP archive, or plain; its first octets tell. Raises ReportError."""
    packed = data[:2] in (b"\x1f\x8b", b"PK")
    if packed and len(data) > MAX_PACKED:
        raise ReportError(f"the compressed report has more than {MAX_PACKED} octets")
    try:
        if packed:
            data = gunzip(data, MAX_REPORT) if data[:1] == b"\x1f" else unzip_one(data, MAX_REPORT)
    except PackedError as error:
        raise ReportError(f"the report: {error}") from error
    return read_report(data)


def read_report(data: bytes) -> ReceivedReport:
    """Read the XML of a report. Raises ReportError."""
    if len(data) > MAX_REPORT:
        raise ReportError(f"the report has more than {MAX_REPORT} octets")
    reader = _Reader()
    try:
        reader.read(data)
    except expat.ExpatError as error:
        raise ReportError(f"the report is no XML: {error!s:.100}") from error
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise ReportError(f"the report cannot be read: {error!s:.100}") from error
    top = reader.top
    domain = top.value("policy_published", "domain").lower()
    organization = top.value("report_metadata", "org_name") or top.value("report_metadata", "email")
    if top.name != "feedback" or not domain or not organization:
        raise ReportError("this is no DMARC report")
    return ReceivedReport(
        organization,
        top.value("report_metadata", "report_id"),
        domain,
        top.value("policy_published", "p"),
        _number(top.value("report_metadata", "date_range", "begin"), _LATEST),
        _number(top.value("report_metadata", "date_range", "end"), _LATEST),
        tuple(reader.rows),
    )


@dataclass(slots=True)
class _Node:
    name: str
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    def each(self, name: str) -> Iterator[_Node]:
        return (child for child in self.children if child.name == name)

    def value(self, *path: str) -> str:
        """The text of the first element at that path."""
        node = self
        for name in path:
            node = next(node.each(name), _Node(""))
        return one_line(node.text.strip(), MAX_TEXT)


class _Reader:
    def __init__(self) -> None:
        self.rows: list[ReceivedRow] = []
        self.top = _Node("")
        self._open: list[_Node] = []
        self._children = 0  # of this record, or beside the records

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.Parse(data, True)

    def _refuse(self, *_: object) -> None:
        raise ReportError("the report has a document type, which none needs")

    def _start(self, name: str, _: object) -> None:
        node = _Node(name.rpartition(":")[2])
        if len(self._open) >= MAX_DEPTH:
            raise ReportError(f"the report has elements nested deeper than {MAX_DEPTH}")
        if not self._open:
            self.top = node
        elif len(self._open) == 1 and node.name == "record":
            if len(self.rows) >= MAX_ROWS:
                raise ReportError(f"the report has more than {MAX_ROWS} records")
            self._children = 0
        else:
            self._children += 1
            if self._children <= MAX_CHILDREN:
                self._open[-1].children.append(node)
        self._open.append(node)

    def _end(self, _: str) -> None:
        node = self._open.pop()
        if len(self._open) == 1 and node.name == "record":
            self.rows.append(_row(node))
            self._children = 0

    def _data(self, text: str) -> None:
        node = self._open[-1]
        if len(node.text) < MAX_TEXT:
            node.text += text[:MAX_TEXT]


def _row(node: _Node) -> ReceivedRow:
    seen = next(node.each("row"), _Node(""))
    evaluated = next(seen.each("policy_evaluated"), _Node(""))
    found = next(node.each("auth_results"), _Node(""))
    results = [
        f"{one.name}={one.value('result')} {one.value('domain')}" + (f" ({selector})" if selector else "")
        for one in found.children
        if one.name in {"dkim", "spf"}
        for selector in (one.value("selector"),)
    ]
    reasons = [
        one.value("type") + (f": {comment}" if comment else "")
        for one in evaluated.each("reason")
        for comment in (one.value("comment"),)
    ]
    return ReceivedRow(
        seen.value("source_ip"),
        _number(seen.value("count"), _MAX_COUNT),
        evaluated.value("disposition"),
        evaluated.value("dkim"),
        evaluated.value("spf"),
        node.value("identifiers", "header_from").lower(),
        node.value("identifiers", "envelope_from").lower(),
        one_line("; ".join(reasons), MAX_TEXT),
        one_line("; ".join(results), MAX_TEXT),
    )


def _number(text: str, most: int) -> int:
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 20 else 0
