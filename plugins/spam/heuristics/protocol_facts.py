"""What the rules look at, taken from a message once. Pure.

Takes linear time: every expression is possessive or of bounded width, and every loop has a named limit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.mail.addresslist import ListedAddress, address_list
from appliance.mail.dates import parse_date
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.reading import MAX_PARTS, texts_of
from appliance.mail.search_text import file_name
from appliance.mail.text import decode_words

MAX_FIELDS = 300  # header fields that are looked at
MAX_VALUE = 2000  # octets of one field
MAX_ADDRESSES = 50  # of one field
MAX_START, MAX_END = 6000, 2000  # characters of what a person sees: of its start, and of its end
MAX_MARKUP = 16 * 1024  # characters of HTML
MAX_TAGS = 400  # tags of HTML
MAX_LINKS = 80
MAX_NAMES = 50  # attachments
MAX_HIDDEN = 40  # places that are checked for hidden text
MAX_SETTING = 1000  # characters of one tag's attributes

_TAG = re.compile(r"<(/?+)([a-zA-Z][a-zA-Z0-9:]{0,20}+)([^<>]{0,1000}+)|<!--")
_HREF = re.compile(r"\bhref\s{0,4}+=\s{0,4}+[\"']?+([^\s\"'<>]{1,500}+)", re.IGNORECASE)
_SOURCE = re.compile(r"\bsrc\s{0,4}+=\s{0,4}+[\"']?+([^\s\"'<>]{1,500}+)", re.IGNORECASE)
_URL = re.compile(r"://[^\s\"'<>()\[\]]{1,500}+")  # what stands before it is looked at when it is found: that is faster
_KEY = re.compile(r"[a-z0-9]{2,20}+")
_SCHEME = re.compile(r"[a-zA-Z]{2,5}+$")
_SPLIT = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,20}+):/{0,3}+([^/?#\\]{0,300}+)(.{0,500}+)", re.DOTALL)
_TAGS_WITHIN = re.compile(r"<[^<>]{0,300}+>")
_CHARSET = re.compile(r"=\?([^?*\s]{1,40}+)[?*]")
_HIDDEN = re.compile(
    r"display\s{0,3}+:\s{0,3}+none|visibility\s{0,3}+:\s{0,3}+hidden|mso-hide\s{0,3}+:\s{0,3}+all"
    r"|font-size\s{0,3}+:\s{0,3}+[01](?:px|pt|em|%)?\s{0,3}+(?:;|\"|'|$)|opacity\s{0,3}+:\s{0,3}+0(?![.\d])"
    r"|max-height\s{0,3}+:\s{0,3}+0|text-indent\s{0,3}+:\s{0,3}+-\d{3}",
    re.IGNORECASE,
)
_COLOUR = re.compile(
    r"(?<![-\w])(bgcolor|background-color|background|color)\s{0,3}+[=:]\s{0,3}+[\"']?+([#\w]{3,20}+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link leads, and what is shown for it (nothing for an address in plain text)."""

    url: str
    scheme: str
    host: str  # lower case, without user and port
    user: str
    port: str
    rest: str
    shown: str


@dataclass(slots=True)
class Facts:
    """A message as rules see it. `at` is when it came, in epoch seconds."""

    at: float
    fields: dict[bytes, list[bytes]]
    order: list[bytes]
    parts: list[Part]
    sender: list[ListedAddress] = field(default_factory=list)
    reply_to: list[ListedAddress] = field(default_factory=list)
    recipients: list[ListedAddress] = field(default_factory=list)
    subject: str = ""
    date: float | None = None
    received: list[str] = field(default_factory=list)
    hops: list[re.Match[str]] | None = None  # kept by `protocol_signs.hops`
    plain: str = ""  # the plain texts
    html: str = ""  # the HTML texts as they were sent
    shown: str = ""  # what a person sees of all texts
    lower: str = ""  # the same in lower case
    words: frozenset[str] = frozenset()  # of it, and only to tell soon which phrases cannot stand there
    tags: Counter[str] = field(default_factory=Counter)
    settings: dict[str, list[str]] = field(default_factory=dict)  # of tags that rules ask about
    hidden: list[str] = field(default_factory=list)  # what is there and not seen
    links: list[Link] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of attachments
    charsets: set[str] = field(default_factory=set)

    def first(self, name: bytes) -> bytes:
        """The first value of a field, or nothing."""
        values = self.fields.get(name)
        return values[0] if values else b""

    def has(self, name: bytes) -> bool:
        """Whether there is such a field."""
        return name in self.fields

    @property
    def author(self) -> str:
        """The address in From, in lower case, or nothing."""
        return address_of(self.sender[0]) if self.sender else ""

    @property
    def author_name(self) -> str:
        """The name that is shown for it."""
        return decode_words(self.sender[0].name or b"") if self.sender else ""


def address_of(one: ListedAddress) -> str:
    """An address in lower case, or nothing for what is none."""
    return text(b"%s@%s" % (one.local, one.domain)).lower() if one.local and one.domain else ""


def text(octets: bytes) -> str:
    """Octets of a header as characters, each for itself."""
    return octets.decode("latin-1")


def facts_of(message: Message, at: float) -> Facts:
    """Look at the message once, for all rules."""
    fields: dict[bytes, list[bytes]] = {}
    order = []
    for one in message.fields()[:MAX_FIELDS]:
        fields.setdefault(one.name, []).append(one.value[:MAX_VALUE])
        order.append(one.name)
    parts = []
    for place, part in enumerate(message.structure.walk()):
        if place >= MAX_PARTS:
            break
        parts.append(part)
    facts = Facts(at, fields, order, parts)
    _read_header(facts)
    _read_texts(facts, message)
    facts.names = [name for part in parts[:MAX_NAMES] if (name := file_name(part)[:255])]
    return facts


def _read_header(facts: Facts) -> None:
    facts.sender = address_list(facts.first(b"from"))[:MAX_ADDRESSES]
    facts.reply_to = address_list(facts.first(b"reply-to"))[:MAX_ADDRESSES]
    for name in (b"to", b"cc"):
        facts.recipients += address_list(facts.first(name))[:MAX_ADDRESSES]
    facts.subject = decode_words(facts.first(b"subject"))
    moment = parse_date(facts.first(b"date"))
    facts.date = moment.timestamp() if moment is not None else None
    facts.received = [text(value) for value in facts.fields.get(b"received", [])[:MAX_NAMES]]
    for name in (b"subject", b"from", b"to"):
        facts.charsets.update(one.lower() for one in _CHARSET.findall(text(facts.first(name))))


def _read_texts(facts: Facts, message: Message) -> None:
    plain, html, shown = list[str](), list[str](), list[str]()
    for one in texts_of(message):
        if charset := (one.part.param("charset") or "").lower():
            facts.charsets.add(charset[:40])
        (html if one.html else plain).append(one.source)
        shown.append(one.shown)
    facts.plain = _both_ends("\n".join(plain))
    facts.html = "\n".join(html)[:MAX_MARKUP]
    facts.shown = _both_ends("\n".join(shown))
    facts.lower = facts.shown.lower()
    facts.words = frozenset(_KEY.findall(facts.lower))
    for match in _URL.finditer(facts.plain):
        if len(facts.links) >= MAX_LINKS:
            break
        scheme = _SCHEME.search(facts.plain[max(0, match.start() - 5) : match.start()])
        if scheme is not None:
            facts.links.append(_link(scheme[0] + match[0].rstrip(".,;:!?"), ""))
    if facts.html:
        _read_markup(facts)


def _both_ends(words: str) -> str:
    return words if len(words) <= MAX_START + MAX_END else f"{words[:MAX_START]}\n{words[-MAX_END:]}"


ASKED = frozenset(("font", "body", "meta", "base", "form", "input", "table", "td"))


def _read_markup(facts: Facts) -> None:
    html = facts.html
    ground = "#ffffff"
    for count, match in enumerate(_TAG.finditer(html)):
        if count >= MAX_TAGS:
            break
        name = match[2]
        if name is None:
            facts.tags["!--"] += 1
            continue
        name = name.lower()
        if match[1]:
            facts.tags["/" + name] += 1
            continue
        facts.tags[name] += 1
        settings = match[3]
        if not settings:
            continue
        if name == "a":
            _read_anchor(facts, settings, match.end())
        elif name == "img":
            if (source := _SOURCE.search(settings)) and len(facts.images) < MAX_LINKS:
                facts.images.append(source[1])
        elif name in ASKED:
            facts.settings.setdefault(name, []).append(settings)
        if len(facts.hidden) < MAX_HIDDEN and ("o" in settings or "O" in settings):
            ground = _read_colours(facts, name, settings, match.end(), ground)


def _read_anchor(facts: Facts, settings: str, end: int) -> None:
    target = _HREF.search(settings)
    if target is None or len(facts.links) >= MAX_LINKS:
        return
    close = facts.html.find("<", end)
    inner = facts.html[end + 1 : end + 400] if close >= 0 else ""
    stop = inner.lower().find("</a")
    shown = _TAGS_WITHIN.sub(" ", inner[:stop] if stop >= 0 else inner[:200])
    facts.links.append(_link(target[1], " ".join(shown.split())))


def _read_colours(facts: Facts, name: str, settings: str, end: int, ground: str) -> str:
    """Note text that nobody sees; return the colour behind what follows."""
    colour = ""
    for kind, value in _COLOUR.findall(settings):
        if kind.lower() == "color":
            colour = _plain_colour(value)
        elif name in ("body", "table", "td"):
            ground = _plain_colour(value)
    if (colour and colour == ground and name not in ("body", "hr")) or _HIDDEN.search(settings):
        start = facts.html.find(">", end) + 1
        stop = facts.html.find("<", start)
        words = facts.html[start : stop if 0 <= stop < start + 300 else start + 300].strip()
        if start and words and words != "&nbsp;":
            facts.hidden.append(words)
    return ground


def _plain_colour(value: str) -> str:
    named = {"white": "#ffffff", "black": "#000000", "red": "#ff0000", "blue": "#0000ff"}
    value = value.lower()
    if len(value) == 4 and value[0] == "#":
        return "#" + "".join(char * 2 for char in value[1:])
    return named.get(value, value if value.startswith("#") else "#" + value)


def _link(url: str, shown: str) -> Link:
    match = _SPLIT.match(url)
    if match is None:
        return Link(url, "", "", "", "", url, shown)
    scheme, place, rest = match.groups()
    user, _, host = place.rpartition("@")
    host, _, port = host.lower().partition(":")
    return Link(url, scheme.lower(), host.rstrip("."), user, port, rest, shown)


def key_of(phrase: str) -> str:
    """The longest word of a phrase, which is among `words` wherever the phrase stands by itself."""
    found: list[str] = _KEY.findall(phrase)
    return max(found, key=len)


def domains(links: Sequence[Link]) -> set[str]:
    """The last two labels of where links lead."""
    return {".".join(link.host.split(".")[-2:]) for link in links if link.host and link.scheme in ("http", "https")}
