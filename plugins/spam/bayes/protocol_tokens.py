"""What a message is made of, as numbers: words, pairs of words, links, the shape of its HTML, its header. Pure.

A token is a hash of 32 bits (CRC-32, begun with the kind of place it stands in), so that neither tables nor files hold
anybody's words. Takes linear time: every expression is possessive or of fixed width, and every loop has a named limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from zlib import crc32

from appliance.mail.addresslist import address_list
from appliance.mail.message import Message
from appliance.mail.mime import Part
from appliance.mail.reading import MAX_PARTS, texts_of
from appliance.mail.search_text import file_name
from appliance.mail.text import decode_words

MAX_FIELDS = 200  # header fields that are looked at
MAX_VALUE = 1000  # octets of one field
MAX_WORDS = 400  # words of all texts together; those after them are not looked at
MAX_SEEN = 300  # words of one image
MAX_TAGS = 400  # HTML tags of all texts together
MAX_LINKS = 60  # URLs of all texts together
MAX_TOKENS = 60_000  # of one message: what the other limits come to, at most
ZONE_BITS = 3
ZONES = 5  # header, subject, text, shape, links

# Fields that whoever stored, fetched or filtered the mail has added, and not its sender: ours, those of other servers
# on the way, of mailbox formats, of filters, and of collectors of corpora. They tell where mail was taken from, not
# what it is: who learns them is told the answer.
IGNORED_FIELDS = frozenset((
    b"received", b"return-path", b"delivered-to", b"delivery-date", b"envelope-to", b"x-envelope-to",
    b"x-envelope-from", b"x-original-to", b"x-originalarrivaltime", b"x-apparently-to", b"x-rcpt-to", b"x-delivered-to",
    b"resent-date", b"resent-from", b"resent-to", b"resent-message-id", b"resent-sender",
    b"authentication-results", b"received-spf", b"dkim-signature", b"domainkey-signature", b"x-google-dkim-signature",
    b"arc-seal", b"arc-message-signature", b"arc-authentication-results", b"x-received", b"x-forwarded-to",
    b"status", b"x-status", b"x-keywords", b"x-uid", b"x-uidl", b"x-imap", b"x-imapbase", b"x-mozilla-status",
    b"x-mozilla-status2", b"x-mozilla-keys", b"x-gmail-labels", b"x-gm-thrid", b"x-folder", b"x-origin", b"x-filename",
    b"x-from", b"x-to", b"x-cc", b"x-bcc", b"content-length", b"lines", b"xref", b"path", b"x-sanitizer",
    b"x-loop", b"x-pyzor", b"x-dcc", b"x-virus-scanned", b"x-virus-status", b"x-mailscanner", b"x-antiabuse",
    b"x-mime-autoconverted", b"x-authentication-warning", b"x-filter-version", b"x-fetchmail", b"x-gmx-antispam",
    b"old-return-path", b"x-mailbox-line", b"x-message-flag", b"x-label", b"x-category", b"replied", b"forwarded",
))  # fmt: skip
# The same, by how their names begin.
IGNORED_BEGINNINGS = (
    b"x-spam", b"x-bogosity", b"x-rspam", b"x-razor", b"x-dcc-", b"x-barracuda", b"x-crm114", b"x-dspam",
    b"x-proofpoint",
    b"x-ms-exchange-", b"x-microsoft-antispam", b"x-forefront", b"x-mailscanner-", b"x-virus-", b"x-amavis",
    b"x-annotation",
    b"x-vr-", b"x-palomar-", b"x-ham", b"x-text-classification", b"x-pop3-",
)  # fmt: skip

# What list servers add to whatever passes through them, spam too. That a list sent it is one token, not fifty.
LIST_FIELDS = frozenset((
    b"list-id", b"list-post", b"list-help", b"list-subscribe", b"list-unsubscribe", b"list-archive", b"list-owner",
    b"list-unsubscribe-post", b"list-software", b"precedence", b"errors-to", b"sender", b"x-beenthere",
    b"x-mailing-list",
    b"x-mailman-version", b"x-list", b"mailing-list", b"x-list-admin", b"x-unsubscription-info", b"x-egroups-return",
    b"x-egroups-from", b"x-yahoo-profile", b"x-acceptable-languages", b"x-original-date", b"x-list-archive",
    b"x-reply-to", b"x-no-archive", b"x-mailinglist", b"x-majordomo", b"x-listname", b"x-list-host", b"x-url",
    b"x-ml-name",
    b"x-ml-count", b"x-sequence", b"x-listserver", b"x-archives-url",
))  # fmt: skip

# Those of them that name the list's own hosts.
_LIST_NAMES = frozenset((
    b"list-id", b"list-post", b"list-help", b"list-subscribe", b"list-unsubscribe", b"list-archive", b"list-owner",
    b"x-beenthere", b"x-mailing-list", b"mailing-list",
))  # fmt: skip

# Kinds: where CRC-32 begins.
_TEXT, _SUBJECT, _NAME, _TO, _FIELD, _URL, _TAG_KIND, _SHAPE, _ADDRESS, _ATTACHED, _MAILER = range(1, 12)

_WORD = re.compile(rb"[\xe3-\xed][\x80-\xbf]{2}|[a-z0-9$!'\x80-\xe2\xee-\xff-]{1,32}+")
_URL_AT = re.compile(rb"(https?|ftp|mailto):/{0,3}+([^\s/?#\"'<>)\]]{1,200}+)([^\s\"'<>)\]]{0,200}+)")
_TAG = re.compile(rb"<([/!]?+[a-z][a-z0-9:-]{0,20}+)([^>]{0,300}+)")
_ATTRIBUTE = re.compile(rb"([a-z-]{2,16}+)\s{0,4}+[=:]\s{0,4}+[\"']?+([a-z0-9#%.+-]{1,24}+)")
_HOST = re.compile(rb"[a-z0-9-]{1,63}+(?>(?:\.[a-z0-9-]{1,63}+){1,6})")
_LIST_TAG = re.compile(r"\[[^\]\[]{1,40}+\]\s{0,4}+")  # "[garden] " before a subject
_SHAPE_OF = re.compile(rb"[a-z]++|[0-9]++")
FOOTER_RULE = "_" * 40  # of Mailman; what follows in MAX_FOOTER characters is its
MAX_FOOTER = 400
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PAIR = 0x9E3779B1  # odd, so that multiplying by it loses nothing of 32 bits
_DISTANCES = (1, 2)  # how far the words of a pair may be apart
_MASK = 0xFFFFFFFF


def tokens_of(message: Message, texts: Sequence[str] = ()) -> set[int]:
    """The tokens of a message, at most MAX_TOKENS, each once. `texts` are read besides: what its images say."""
    header: set[int] = set()
    subject: set[int] = set()
    text: set[int] = set()
    shape: set[int] = set()
    links: set[int] = set()
    lists = _list_hosts(message)
    _header(message, header, subject, lists)
    _body(message, text, shape, links, lists)
    for one in texts[:MAX_PARTS]:
        _add_words(_words(one, MAX_SEEN), _TEXT, text)
    return _in_zones((header, subject, text, shape, links))


def _in_zones(zones: Sequence[set[int]]) -> set[int]:
    """Tokens whose lowest bits tell the zone they come from."""
    made: set[int] = set()
    for zone, found in enumerate(zones):
        made.update([token << ZONE_BITS | zone for token in found])
    return made


def is_ignored(name: bytes) -> bool:
    """Whether a field of that lower-case name was added by a server or a collector and tells nothing of the sender."""
    return name in IGNORED_FIELDS or name.startswith(IGNORED_BEGINNINGS)


# ── header ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _list_hosts(message: Message) -> frozenset[bytes]:
    """The hosts of the list servers that the message came through, as their fields name them."""
    found: set[bytes] = set()
    for one in message.fields()[:MAX_FIELDS]:
        if one.name in _LIST_NAMES:
            found.update(_HOST.findall(one.value[:MAX_VALUE].lower())[:10])
    return frozenset(found)


def _header(message: Message, found: set[int], subject: set[int], lists: frozenset[bytes]) -> None:
    fields = [field for field in message.fields()[:MAX_FIELDS] if not is_ignored(field.name)]
    for field in fields:
        if field.name in LIST_FIELDS:
            found.add(crc32(b"by a list", _SHAPE))
            continue
        found.add(crc32(field.name, _FIELD))
        handler = _HANDLERS.get(field.name, _other)
        if lists and handler is _people and field.name != b"from":
            continue  # the list's own address, or one that its server has put there
        handler(field.name, field.value[:MAX_VALUE], subject if field.name == b"subject" else found)


def _subject(name: bytes, value: bytes, found: set[int]) -> None:
    text = _LIST_TAG.sub("", decode_words(value))
    words = _words(text)
    _add_words(words, _SUBJECT, found)
    found.update(crc32(word, _TEXT) for word in words)
    if text.isupper():
        found.add(crc32(b"subject in capitals", _SHAPE))
    if value.startswith(b"=?"):
        found.add(crc32(value[:16].lower(), _SHAPE))
    if "  " in text.strip():
        found.add(crc32(b"subject with gaps", _SHAPE))


def _people(name: bytes, value: bytes, found: set[int]) -> None:
    kind = _TO if name in (b"to", b"cc") else _NAME
    addresses = address_list(value)[:20]
    found.add(crc32(b"%s %d" % (name, min(len(addresses), 5)), _SHAPE))
    for one in addresses:
        if one.name:
            found.update(crc32(word, kind) for word in _words(decode_words(one.name))[:20])
        elif name == b"from":
            found.add(crc32(b"from without name", _SHAPE))
        if one.local and one.domain:
            local, domain = one.local.lower(), one.domain.lower()
            found.add(crc32(b"%s %s@%s" % (name, local, domain), _ADDRESS))
            found.update(crc32(b"%s %s" % (name, part), _ADDRESS) for part in _domains(domain))
            found.add(crc32(b"%s %s" % (name, _SHAPE_OF.sub(_shape, local[:40])), _SHAPE))


def _message_id(name: bytes, value: bytes, found: set[int]) -> None:
    local, _, domain = value.strip(b"<> \t\r\n").lower().rpartition(b"@")
    found.add(crc32(b"id " + _SHAPE_OF.sub(_shape, local[:80]), _SHAPE))
    found.update(crc32(b"id " + part, _ADDRESS) for part in _domains(domain))


def _date(name: bytes, value: bytes, found: set[int]) -> None:
    """Its zone and its form; when it was is no sign of anything."""
    text = value.strip().lower()
    found.add(crc32(b"date " + re.sub(rb"[0-9]++", b"9", re.sub(rb"[a-z]{3,}+", b"a", text[:60])), _SHAPE))
    found.add(crc32(b"zone " + text[20:].rpartition(b" ")[2][:8], _SHAPE))


def _other(name: bytes, value: bytes, found: set[int]) -> None:
    start = crc32(name, _MAILER)
    found.add(crc32(value[:80].lower(), start))
    for word in _WORD.findall(value.lower())[:30]:
        found.add(crc32(word, start))


def _nothing(name: bytes, value: bytes, found: set[int]) -> None:
    """That there is such a field is all it tells."""


_HANDLERS: dict[bytes, Callable[[bytes, bytes, set[int]], None]] = {
    b"subject": _subject, b"from": _people, b"to": _people, b"cc": _people, b"reply-to": _people, b"sender": _people,
    b"errors-to": _people, b"message-id": _message_id, b"in-reply-to": _message_id, b"date": _date,
    b"references": _nothing,
}  # fmt: skip


def _domains(domain: bytes) -> Iterator[bytes]:
    """A domain and those above it, but for the highest: at most four."""
    labels = domain[:255].split(b".")
    for start in range(max(0, len(labels) - 4), max(1, len(labels) - 1)):
        yield b".".join(labels[start:])
    yield labels[-1]


def _shape(match: re.Match[bytes]) -> bytes:
    octets = match[0]
    return b"%s%d" % (b"9" if octets[0] < 58 else b"a", min(len(octets), 12))


# ── body ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _body(message: Message, found: set[int], shape: set[int], links: set[int], lists: frozenset[bytes]) -> None:
    kinds: list[bytes] = []
    for part in islice(message.structure.walk(), MAX_PARTS):
        kinds.append(f"{part.type[:20]}/{part.subtype[:20]}".encode("utf-8", "replace"))
        _add_part(part, shape)
    shape.add(crc32(b" ".join(kinds), _SHAPE))
    words_left, tags_left, links_left = MAX_WORDS, MAX_TAGS, MAX_LINKS
    for read in texts_of(message):
        source = read.source.lower().encode("utf-8", "surrogatepass")
        if read.html:
            tags_left -= _add_markup(source, tags_left, shape)
        links_left -= _add_links(source, links_left, links, lists)
        text = _without_footer(read.shown, of_list=bool(lists))
        words = _words(text, max(0, words_left))
        words_left -= len(words)
        _add_words(words, _TEXT, found)
        _add_shape(text, words, shape)


def _without_footer(text: str, *, of_list: bool) -> str:
    """What a list server has put below a line of underscores or the mark of a signature is not the sender's."""
    for rule in ("\n-- ", FOOTER_RULE) if of_list else (FOOTER_RULE,):
        cut = text.rfind(rule)
        if cut > 0 and len(text) - cut <= MAX_FOOTER:
            return text[:cut].rstrip("_")
    return text


def _words(text: str, limit: int = MAX_WORDS) -> list[bytes]:
    """The first words, found in not much more text than they need."""
    start = text[: limit * 12].lower().encode("utf-8", "surrogatepass")
    return _WORD.findall(start)[:limit]


def _add_words(words: Iterable[bytes], kind: int, found: set[int]) -> None:
    """The words, and pairs of those next to each other or with one between (orthogonal sparse bigrams)."""
    hashes = [crc32(word, kind) for word in words]
    found.update(hashes)
    turned = [one * _PAIR & _MASK for one in hashes]
    for distance in _DISTANCES:
        # ^ with the distance keeps "one two" apart from "one … two".
        found.update([one ^ two ^ distance for one, two in zip(turned, hashes[distance:], strict=False)])


def _add_shape(text: str, words: list[bytes], found: set[int]) -> None:
    start = text[:4000].encode("ascii", "replace")
    capitals = (len(start) - len(start.translate(None, _CAPITALS))) * 20 // (len(start) or 1)
    found.add(crc32(b"capitals %d" % capitals, _SHAPE))
    found.add(crc32(b"words %d" % len(words).bit_length(), _SHAPE))
    found.add(crc32(b"calls %d" % min(text.count("!"), 6), _SHAPE))


def _add_part(part: Part, found: set[int]) -> None:
    about = f"{part.type[:20]}/{part.subtype[:20]} {part.encoding[:20]} {(part.param('charset') or '')[:20].lower()}"
    found.add(crc32(about.encode("utf-8", "replace"), _SHAPE))
    name = file_name(part)[-100:].lower()
    if name:
        found.add(crc32(name.rpartition(".")[2].encode("utf-8", "replace"), _ATTACHED))
        found.add(crc32(name.encode("utf-8", "replace"), _ATTACHED))


def _add_markup(markup: bytes, limit: int, found: set[int]) -> int:
    """Tags, and what they set; comments and styles count as what they are: a sign."""
    count = 0
    for match in _TAG.finditer(markup):
        if count >= limit:
            break
        count += 1
        tag = match[1]
        found.add(crc32(tag, _TAG_KIND))
        if match[2]:
            start = crc32(tag, _TAG_KIND + 100)
            for key, value in _ATTRIBUTE.findall(match[2])[:12]:
                found.add(crc32(key, start))
                found.add(crc32(key + b"=" + value, _TAG_KIND))
    found.add(crc32(b"tags %d" % count.bit_length(), _SHAPE))
    found.add(crc32(b"comments %d" % min(markup.count(b"<!--"), 8), _SHAPE))
    return count


def _add_links(text: bytes, limit: int, found: set[int], lists: frozenset[bytes]) -> int:
    """Where links lead, but for those to a list's own server."""
    count = 0
    for match in _URL_AT.finditer(text):
        if count >= limit:
            break
        count += 1
        scheme, host, path = match.groups()
        if b"@" in host and scheme != b"mailto":
            found.add(crc32(b"credentials in link", _SHAPE))
        host = host.rpartition(b"@")[2]
        if host in lists:
            continue
        found.update(crc32(scheme + b" " + part, _URL) for part in _domains(host))
        if host.replace(b".", b"").isdigit():
            found.add(crc32(b"link to address", _SHAPE))
        if b":" in host:
            found.add(crc32(b"link with port", _SHAPE))
        found.update(crc32(word, _URL) for word in _WORD.findall(path)[:20])
    found.add(crc32(b"links %d" % count.bit_length(), _SHAPE))
    return count
