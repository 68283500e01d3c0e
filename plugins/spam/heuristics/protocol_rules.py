"""The rule set: each rule has a name, a sentence for people, and a weight for want of labelled mail that says better.

A rule is a function of the facts of a message. It returns what it saw, or nothing where it does not fit. To add one:
write the function, state a weight (0.3 a hint, 1 a sign, 2 hardly anything else does this), and run
`python -m tests.bench.spam.fit`, which writes scores.toml. Linear time, no network.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from plugins.spam.heuristics.protocol_facts import Facts, address_of, domains, key_of, text
from plugins.spam.heuristics.protocol_signs import (
    MAX_WORDS_SEEN,
    akin,
    domain,
    hops,
    is_mismatch,
    is_noise,
    link_where,
    mixed,
    readable,
)

Look = Callable[[Facts], str]
HOUR, DAY = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `weight` is its score unless a fitted one replaces it."""

    name: str
    text: str
    weight: float
    look: Look


RULES: list[Rule] = []


def rule(weight: float, words: str) -> Callable[[Look], Look]:
    """Put a function among the rules, under its own name."""

    def put(look: Look) -> Look:
        RULES.append(Rule(look.__name__, words, weight, look))
        return look

    return put


def hits(facts: Facts, left_out: Collection[str] = ()) -> Iterator[tuple[Rule, str]]:
    """The rules that fit, each with what it saw; those whose names are left out are not asked."""
    for one in RULES:
        if one.name not in left_out and (evidence := one.look(facts)):
            yield one, evidence


def _is_raw(value: bytes) -> bool:
    """Whether a value is neither ASCII nor UTF-8 (RFC 6532 section 3.2)."""
    try:
        value[:1000].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start < len(value[:1000]) - 3  # a character that the limit has cut is none
    return False


def _if(condition: object, evidence: str = "") -> str:
    return (evidence or "yes") if condition else ""


# ── who it claims to be from ──────────────────────────────────────────────────────────────────────────────────────────

FREE = frozenset((
    "gmail.com", "googlemail.com", "yahoo.com", "hotmail.com", "outlook.com", "live.com", "msn.com", "aol.com",
    "gmx.net", "gmx.de", "web.de", "mail.ru", "yandex.ru", "163.com", "126.com", "qq.com", "excite.com", "lycos.com",
    "icloud.com", "proton.me", "protonmail.com", "hotmail.fr", "yahoo.fr", "yahoo.co.uk", "mail.com", "netscape.net",
    "eudoramail.com",
))  # fmt: skip
_ADDRESS = re.compile(r"[\w.+-]{1,64}+@([\w-]{1,63}+(?>(?:\.[\w-]{1,63}+){1,6}))")


@rule(1.5, "nobody is named as its author")
def from_missing(mail: Facts) -> str:
    return _if(not mail.author, text(mail.first(b"from")))


@rule(1.5, "it has several From fields")
def from_twice(mail: Facts) -> str:
    return _if(len(mail.fields.get(b"from", ())) > 1, "; ".join(map(text, mail.fields.get(b"from", ()))))


@rule(2.0, "the author's name is an address of somebody else")
def from_name_is_other_address(mail: Facts) -> str:
    found = _ADDRESS.search(mail.author_name)
    return _if(found and mail.author and not akin(found[1].lower(), domain(mail.author)), mail.author_name)


@rule(0.3, "the author has no name, only an address")
def from_without_name(mail: Facts) -> str:
    return _if(mail.author and not mail.author_name.strip(), mail.author)


@rule(0.7, "the author's address is mostly digits")
def from_digits(mail: Facts) -> str:
    local = mail.author.partition("@")[0]
    return _if(sum(map(str.isdigit, local)) >= max(3, len(local) // 3), mail.author)


@rule(0.8, "the author's address is letters without sense")
def from_random(mail: Facts) -> str:
    local = mail.author.partition("@")[0]
    return _if(is_noise(local), local)


@rule(0.7, "it is from the very address that it goes to")
def from_is_recipient(mail: Facts) -> str:
    return _if(mail.author and any(address_of(one) == mail.author for one in mail.recipients), mail.author)


@rule(0.8, "answers go to another domain, at a free mail provider")
def reply_to_free(mail: Facts) -> str:
    other = address_of(mail.reply_to[0]) if mail.reply_to else ""
    return _if(other and domain(other) in FREE and domain(other) != domain(mail.author), other)


@rule(0.3, "answers go to another domain")
def reply_to_elsewhere(mail: Facts) -> str:
    other = address_of(mail.reply_to[0]) if mail.reply_to else ""
    return _if(other and not akin(domain(other), domain(mail.author)), other)


@rule(1.0, "the author's name holds encoded words that need no encoding")
def from_needlessly_encoded(mail: Facts) -> str:
    return _if(b"=?" in mail.first(b"from") and mail.author_name.isascii(), mail.author_name)


@rule(1.5, "the author's name mixes alphabets to look like another")
def from_homograph(mail: Facts) -> str:
    return mixed(mail.author_name)


@rule(1.0, "the author's name turns the direction of writing")
def from_direction(mail: Facts) -> str:
    return _if(_DIRECTION.search(mail.author_name), ascii(mail.author_name))


# ── whom it is for ────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(0.5, "it names no recipient")
def to_missing(mail: Facts) -> str:
    return _if(not mail.has(b"to") and not mail.has(b"cc"))


@rule(0.4, "its recipients are hidden")
def to_undisclosed(mail: Facts) -> str:
    return _if(mail.has(b"to") and not any(map(address_of, mail.recipients)), text(mail.first(b"to")))


@rule(0.5, "it goes to many strangers at once")
def to_many(mail: Facts) -> str:
    count = len(mail.recipients)
    return _if(count >= 10, f"{count} recipients")


@rule(0.6, "the recipients are neighbours in an alphabetic list")
def to_neighbours(mail: Facts) -> str:
    names = [address_of(one) for one in mail.recipients]
    near = sum(one != two and one[:3] == two[:3] for one, two in pairwise(names))
    return _if(near >= 3, ", ".join(names[:4]))


# ── subject ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(0.5, "it has no subject")
def subject_missing(mail: Facts) -> str:
    return _if(not mail.subject.strip())


@rule(0.8, "the subject is in capitals")
def subject_capitals(mail: Facts) -> str:
    return _if(len(mail.subject) > 8 and mail.subject.isupper(), mail.subject)


@rule(1.0, "the subject names the recipient by the address")
def subject_addresses_recipient(mail: Facts) -> str:
    local = address_of(mail.recipients[0]).partition("@")[0] if mail.recipients else ""
    return _if(len(local) > 3 and mail.subject.lower().startswith(local), mail.subject)


@rule(1.2, "the subject ends in something random, far behind its words")
def subject_tail(mail: Facts) -> str:
    return _if(re.search(r" {6,30}+\S{2,20}+$", mail.subject.strip()[:400]), mail.subject)


@rule(0.8, "the subject claims to answer, and answers nothing")
def subject_false_answer(mail: Facts) -> str:
    answers = mail.subject[:4].lower().startswith("re:")
    return _if(answers and not mail.has(b"references") and not mail.has(b"in-reply-to"), mail.subject)


@rule(1.0, "the subject has spaces within words")
def subject_spaced(mail: Facts) -> str:
    return _if(_SPACED.search(mail.subject), mail.subject)


@rule(0.4, "the subject shouts")
def subject_shouts(mail: Facts) -> str:
    return _if("!" in mail.subject, mail.subject)


@rule(0.6, "the subject speaks of money or percents")
def subject_money(mail: Facts) -> str:
    return _if(re.search(r"[$€£%]", mail.subject), mail.subject)


@rule(0.9, "the subject is marked as advertisement")
def subject_marked(mail: Facts) -> str:
    return _if(re.match(r"\W{0,4}+(?:adv|ad|werbung|publicidad)\s{0,2}+[:\])]", mail.subject.lower()), mail.subject)


@rule(0.8, "the subject holds raw octets that the standard forbids")
def subject_raw(mail: Facts) -> str:
    return _if(_is_raw(mail.first(b"subject")), mail.subject)


@rule(1.5, "the subject mixes alphabets to look like another")
def subject_homograph(mail: Facts) -> str:
    return mixed(mail.subject)


@rule(0.5, "the subject hides words in an encoding they do not need")
def subject_needlessly_encoded(mail: Facts) -> str:
    return _if(mail.first(b"subject")[:2] == b"=?" and mail.subject.isascii(), mail.subject)


@rule(0.5, "the subject asks for haste")
def subject_urgent(mail: Facts) -> str:
    return _if(
        re.search(
            r"\b(?:urgent|immediate|final notice|act now|last chance|suspended|verify your)", mail.subject.lower()
        ),
        mail.subject,
    )


@rule(0.5, "the subject speaks to you of what you could have")
def subject_you(mail: Facts) -> str:
    return _if(
        re.search(
            r"\b(?:your (?!message|mail|post|bug)|you\b|free\b|save\b|win\b|earn\b|lose\b|best\b)", mail.subject.lower()
        ),
        mail.subject,
    )


# ── other header fields ───────────────────────────────────────────────────────────────────────────────────────────────


@rule(0.8, "it has no Message-ID")
def message_id_missing(mail: Facts) -> str:
    return _if(not mail.has(b"message-id"))


@rule(1.0, "its Message-ID has a form that no mail program makes")
def message_id_malformed(mail: Facts) -> str:
    value = mail.first(b"message-id").strip()
    return _if(value and not re.fullmatch(rb"<[^<>@\s]{1,400}+@[^<>@\s]{1,400}+>", value), text(value))


@rule(0.6, "its Message-ID was made where it was received, not where it was written")
def message_id_added(mail: Facts) -> str:
    place = text(mail.first(b"message-id")).rpartition("@")[2].strip("<> ").lower()
    ours = {domain(address_of(one)) for one in mail.recipients}
    return _if(place and place in ours and domain(mail.author) not in ours, place)


@rule(1.0, "its Message-ID names no full host")
def message_id_host(mail: Facts) -> str:
    place = text(mail.first(b"message-id")).rpartition("@")[2].strip("<> ")
    return _if(place and "." not in place, place)


@rule(0.8, "it says that Outlook wrote it, and lacks what Outlook writes")
def mailer_outlook_forged(mail: Facts) -> str:
    mailer = text(mail.first(b"x-mailer"))
    marks = mail.has(b"x-mimeole") or mail.has(b"thread-index") or mail.has(b"x-originatororg")
    return _if("Outlook" in mailer and not marks, mailer)


@rule(0.8, "its mail program is one for mass mail")
def mailer_bulk(mail: Facts) -> str:
    mailer = text(mail.first(b"x-mailer")).lower()
    return _if(
        re.search(r"bulk|mass|group ?mail|blast|stealth|dynamic|phpmailer|leaf ?php|turbo|the bat", mailer), mailer
    )


@rule(0.7, "its mail program has a name without sense")
def mailer_random(mail: Facts) -> str:
    mailer = text(mail.first(b"x-mailer"))
    return _if(mailer and (is_noise(mailer.strip()) or mailer.strip().isdigit()), mailer)


@rule(0.5, "it claims to be urgent")
def priority_high(mail: Facts) -> str:
    marks = (
        mail.first(b"x-priority")[:1],
        mail.first(b"importance").lower()[:4],
        mail.first(b"x-msmail-priority").lower()[:4],
    )
    return _if(marks[0] == b"1" or b"high" in marks)


@rule(0.8, "fields that stand once at most stand twice")
def header_twice(mail: Facts) -> str:
    names = (b"subject", b"to", b"date", b"message-id", b"content-type", b"reply-to")
    return ", ".join(text(name) for name in names if len(mail.fields.get(name, ())) > 1)


@rule(0.6, "header fields hold raw octets that the standard forbids")
def header_raw(mail: Facts) -> str:
    return ", ".join(text(name) for name in (b"from", b"to", b"reply-to") if _is_raw(mail.first(name)))


@rule(0.7, "it has no MIME-Version, though it is made of parts or HTML")
def mime_version_missing(mail: Facts) -> str:
    return _if(not mail.has(b"mime-version") and (mail.html or mail.parts[0].type == "multipart"))


@rule(0.4, "it can be unsubscribed from by a field")
def list_unsubscribe(mail: Facts) -> str:
    return _if(mail.has(b"list-unsubscribe") and not mail.has(b"list-id") and not mail.has(b"list-post"))


@rule(-0.7, "it answers a message")
def is_answer(mail: Facts) -> str:
    return _if(mail.has(b"references") or mail.has(b"in-reply-to"))


@rule(-0.5, "it quotes a message, line by line")
def quotes(mail: Facts) -> str:
    return _if(mail.plain.startswith("> ") or "\n> " in mail.plain)


@rule(-0.3, "it is signed or has a signature's dashes")
def has_signature(mail: Facts) -> str:
    return _if("\n-- \n" in mail.plain or "\r\n-- \r\n" in mail.plain or mail.has(b"dkim-signature"))


# ── dates ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(1.0, "it has no date, or none that can be read")
def date_unreadable(mail: Facts) -> str:
    return _if(mail.date is None, text(mail.first(b"date")))


@rule(1.2, "its date is in the future")
def date_future(mail: Facts) -> str:
    return _if(mail.date is not None and mail.date > mail.at + 4 * HOUR, text(mail.first(b"date")))


@rule(0.7, "its date is days ago")
def date_past(mail: Facts) -> str:
    return _if(mail.date is not None and mail.date < mail.at - 4 * DAY, text(mail.first(b"date")))


@rule(1.5, "its date has a zone that no place has")
def date_zone(mail: Facts) -> str:
    found = re.search(rb"[+-](\d\d)(\d\d)", mail.first(b"date")[-40:])
    return _if(found and (int(found[1]) > 14 or int(found[2]) % 15), text(mail.first(b"date")))


@rule(0.6, "its date is written as programs for mass mail do")
def date_form(mail: Facts) -> str:
    value = text(mail.first(b"date"))
    return _if(
        value
        and not re.match(
            r"(?:[A-Z][a-z]{2}, {1,2}+)?\d{1,2}+ [A-Z][a-z]{2} \d{4} \d\d:\d\d(?::\d\d)? [+-]\d{4}", value
        ),
        value,
    )


# ── the way it came ───────────────────────────────────────────────────────────────────────────────────────────────────


@rule(1.0, "a server on its way named itself by a bare address")
def received_bare_address(mail: Facts) -> str:
    return next((found[1] for found in hops(mail) if re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){3}", found[1])), "")


@rule(1.0, "a server on its way used the name of a large provider that it was not")
def received_forged(mail: Facts) -> str:
    for found in hops(mail):
        name, rest = found[1].lower(), found[2].lower()
        if (
            any(name.endswith(one) for one in FREE)
            and "[" in rest
            and name.rpartition(".")[0].rpartition(".")[2] not in rest
        ):
            return f"{name} ({rest[:60]}"
    return ""


@rule(0.8, "it came from a dial-up or home connection")
def received_home(mail: Facts) -> str:
    last = next(iter(hops(mail)[-1:]), None)
    words = last[2].lower() if last else ""
    return _if(
        re.search(r"dial|dsl|cable|dhcp|ppp|pool|dyn|client|\d{1,3}[-.]\d{1,3}[-.]\d{1,3}[-.]\d{1,3}\.[a-z]", words),
        words,
    )


@rule(0.6, "a server on its way had no name")
def received_nameless(mail: Facts) -> str:
    return next((found[0][:80] for found in hops(mail) if "unknown [" in found[2] or "may be forged" in found[2]), "")


# ── HTML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(0.8, "it is HTML alone, without plain text")
def html_only(mail: Facts) -> str:
    return _if(mail.html and not mail.plain.strip())


@rule(1.2, "it is a picture, with hardly a word")
def html_picture(mail: Facts) -> str:
    return _if(mail.images and len(mail.shown) < 200, f"{len(mail.images)} images, {len(mail.shown)} characters")


@rule(1.0, "it holds a form to fill in")
def html_form(mail: Facts) -> str:
    return _if(mail.tags["form"], f"{mail.tags['input']} fields")


@rule(1.8, "it asks for a password in the message itself")
def html_password(mail: Facts) -> str:
    return next((one for one in mail.settings.get("input", ()) if "password" in one.lower()), "")


@rule(1.0, "it holds a program")
def html_script(mail: Facts) -> str:
    return _if(mail.tags["script"] or mail.tags["object"] or mail.tags["applet"])


@rule(0.8, "it loads another page into itself")
def html_frame(mail: Facts) -> str:
    return _if(mail.tags["iframe"] or mail.tags["frame"] or mail.tags["embed"])


@rule(1.2, "it leads to another page by itself")
def html_refresh(mail: Facts) -> str:
    return next((one for one in mail.settings.get("meta", ()) if "refresh" in one.lower()), "")


@rule(1.2, "it holds text that nobody sees")
def html_hidden(mail: Facts) -> str:
    found = " … ".join(mail.hidden)
    return found if len(found) > 8 else ""


_KNOWN_TAGS = frozenset((
    "a", "abbr", "address", "area", "b", "base", "big", "blockquote", "body", "br", "center", "col", "div", "em",
    "font", "form", "h1", "h2", "h3", "h4", "head", "hr", "html", "i", "img", "input", "li", "link", "map", "meta",
    "ol", "option", "p", "pre", "script", "select", "small", "span", "strong", "style", "sub", "sup", "table", "tbody",
    "td", "th", "title", "tr", "tt", "u", "ul", "o:p",
))  # fmt: skip


@rule(1.5, "words are taken apart by tags or comments")
def html_split_words(mail: Facts) -> str:
    if mail.tags["!--"] < 3 and all(name.lstrip("/") in _KNOWN_TAGS for name in mail.tags):
        return ""
    found = re.findall(r"[a-z](?:<!--[^<>]{0,60}+>|</?[a-z]{3,20}+>)[a-z]", mail.html[:8000])
    cut = [one for one in found if one[1:-1].strip("</>") not in _INLINE]
    return _if(len(cut) >= 3, ", ".join(cut[:3]))


_INLINE = frozenset(
    ("font", "span", "strong", "big", "small", "sup", "sub", "code", "abbr", "mark", "ins", "del", "wbr")
)


@rule(1.0, "it has tags that do not exist")
def html_unknown_tags(mail: Facts) -> str:
    odd = [name for name in mail.tags if len(name) > 10 and ":" not in name and name.lstrip("/") not in _LONG_TAGS]
    return _if(len(odd) >= 2, ", ".join(odd[:3]))


_LONG_TAGS = frozenset(("blockquote", "figcaption"))


@rule(0.8, "plain letters are written as numbers")
def html_letters_as_numbers(mail: Facts) -> str:
    found = re.findall(r"&#(?:6[5-9]|[78]\d|9[07-9]|1[01]\d|12[0-2]);", mail.html[:20_000])
    return _if(len(found) > 8, f"{len(found)} letters")


@rule(0.4, "its letters are large")
def html_large(mail: Facts) -> str:
    return next(
        (
            one
            for one in mail.settings.get("font", ())
            if re.search(r"size\s{0,2}+=\s{0,2}+[\"']?+(?:\+[1-7]|[4-7])", one.lower())
        ),
        "",
    )


@rule(0.4, "it is coloured in red or yellow")
def html_loud_colours(mail: Facts) -> str:
    loud = re.compile(r"#?(?:ff0000|ffff00|red\b|yellow\b|ff00ff)")
    return next((one for one in mail.settings.get("font", ()) if loud.search(one.lower())), "")


@rule(0.6, "a picture reports who has opened it")
def html_beacon(mail: Facts) -> str:
    own = {address_of(one) for one in mail.recipients if address_of(one)}
    return next(
        (
            one
            for one in mail.images
            if any(name in one.lower() for name in own) or re.search(r"\?[^&]{0,40}+[0-9a-f@]{16}", one)
        ),
        "",
    )


@rule(0.8, "its plain text and its HTML say different things")
def html_other_text(mail: Facts) -> str:
    if not mail.html or not mail.plain.strip() or mail.parts[0].subtype != "alternative":
        return ""
    plain = set(mail.plain.lower().split()[:MAX_WORDS_SEEN])
    seen = set(mail.lower[len(mail.plain) :].split()[:MAX_WORDS_SEEN])
    return _if(
        len(seen) > 20 and len(plain & seen) < len(seen) // 5, f"{len(plain & seen)} of {len(seen)} words in common"
    )


@rule(0.5, "its HTML is base64, which text needs not")
def html_base64(mail: Facts) -> str:
    return _if(any(one.type == "text" and one.encoding == "base64" for one in mail.parts) and mail.shown.isascii())


@rule(0.4, "its HTML is not finished")
def html_open(mail: Facts) -> str:
    return _if(mail.tags["html"] > mail.tags["/html"] or mail.tags["body"] > mail.tags["/body"])


@rule(0.5, "its HTML is laid out by tables, as advertising is")
def html_tables(mail: Facts) -> str:
    return _if(mail.tags["table"] >= 4 or mail.tags["center"] >= 3, f"{mail.tags['table']} tables")


# ── links ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SHORT = frozenset(("bit.ly", "tinyurl.com", "goo.gl", "t.co", "is.gd", "ow.ly", "cutt.ly", "rb.gy", "rebrand.ly"))
_CHEAP = frozenset((
    "biz", "info", "top", "xyz", "click", "icu", "buzz", "work", "loan", "gq", "tk", "ml", "cf", "ga", "cam", "rest",
    "monster", "sbs", "cn",
))  # fmt: skip


@rule(1.5, "a link leads to a bare address")
def link_address(mail: Facts) -> str:
    return link_where(mail, lambda one: re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){3}|\d{6,10}+|0x[0-9a-f]{6,8}+", one.host))


@rule(1.0, "a link names a port")
def link_port(mail: Facts) -> str:
    return link_where(mail, lambda one: one.port and one.port not in ("80", "443") and one.scheme in ("http", "https"))


@rule(1.5, "a link hides where it leads behind an @")
def link_user(mail: Facts) -> str:
    return link_where(mail, lambda one: one.user and one.scheme in ("http", "https"))


@rule(1.2, "a link writes its host in escapes")
def link_escaped(mail: Facts) -> str:
    return link_where(mail, lambda one: "%" in one.host or "&#" in one.host)


@rule(1.5, "a link shows another place than it leads to")
def link_mismatch(mail: Facts) -> str:
    return link_where(mail, is_mismatch)


@rule(1.2, "a link's host mixes alphabets to look like another")
def link_homograph(mail: Facts) -> str:
    return link_where(mail, lambda one: mixed(readable(one.host)))


@rule(0.5, "a link leads through another page")
def link_redirect(mail: Facts) -> str:
    return link_where(mail, lambda one: "http" in one.rest and re.search(r"https?(?::|%3a)(?:/|%2f)", one.rest.lower()))


@rule(0.5, "a link is shortened, so that nobody sees where it leads")
def link_short(mail: Facts) -> str:
    return link_where(mail, lambda one: one.host in _SHORT)


@rule(1.0, "a link holds a page or a program in itself")
def link_data(mail: Facts) -> str:
    return link_where(mail, lambda one: one.scheme in ("data", "javascript", "vbscript"))


@rule(1.0, "a link tells who has followed it")
def link_names_recipient(mail: Facts) -> str:
    own = {address_of(one) for one in mail.recipients if address_of(one)}
    return link_where(mail, lambda one: one.scheme != "mailto" and any(name in one.rest.lower() for name in own))


@rule(0.6, "a link removes you from a list")
def link_remove(mail: Facts) -> str:
    return link_where(mail, lambda one: re.search(r"remove|unsub|optout|opt-out", one.rest.lower() + one.shown.lower()))


@rule(0.5, "the place of a link has a name without sense")
def link_random(mail: Facts) -> str:
    return link_where(mail, lambda one: any(is_noise(label) for label in one.host.split(".")[:-1]))


@rule(0.6, "a link leads to where much spam comes from")
def link_cheap(mail: Facts) -> str:
    return link_where(mail, lambda one: one.scheme in ("http", "https") and one.host.rpartition(".")[2] in _CHEAP)


@rule(0.5, "all its links lead to one place that is not the author's")
def link_one_place(mail: Facts) -> str:
    places = domains(mail.links)
    home = ".".join(domain(mail.author).split(".")[-2:])
    return _if(len(places) == 1 and len(mail.links) >= 3 and home not in places, ", ".join(places))


# ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SPACED = re.compile(r"(?<!\w)(?:[A-Za-z][ .*_-]){4,30}[A-Za-z](?!\w)")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_BREAKS = re.compile(f"[a-zA-Z][{_UNSEEN}][a-zA-Z]")
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_AMOUNT = re.compile(r"[$€£]\s?+\d{1,3}+(?>(?:[.,]\d{3}){0,4})")


@rule(1.5, "words mix alphabets, so that filters do not read them")
def text_homographs(mail: Facts) -> str:
    return "" if mail.shown.isascii() else mixed(mail.shown)


@rule(1.2, "words are taken apart by signs that nobody sees")
def text_invisible(mail: Facts) -> str:
    if mail.shown.isascii() or not any(sign in mail.shown for sign in _UNSEEN):
        return ""
    found = _BREAKS.findall(mail.shown)
    return _if(len(found) >= 3, f"{len(found)} places")


@rule(0.8, "words are spaced out")
def text_spaced(mail: Facts) -> str:
    found = _SPACED.search(mail.shown[:1000])
    return found[0] if found else ""


@rule(0.6, "much of it is in capitals")
def text_capitals(mail: Facts) -> str:
    start = mail.shown[:4000].encode("ascii", "ignore")
    capitals = len(start) - len(start.translate(None, _CAPITALS))
    letters = len(start) - len(start.translate(None, _CAPITALS + _CAPITALS.lower()))
    return _if(letters > 100 and capitals > 0.35 * letters, f"{100 * capitals // max(1, letters)} %")


@rule(0.4, "it shouts")
def text_shouts(mail: Facts) -> str:
    return _if("!!" in mail.shown or mail.shown.count("!") > 6, f"{mail.shown.count('!')} exclamation marks")


@rule(0.5, "it speaks of amounts of money")
def text_money(mail: Facts) -> str:
    found = _AMOUNT.findall(mail.lower) + ["million"] * mail.lower.count(" million")
    return _if(len(found) >= 2, ", ".join(found[:3]))


@rule(0.8, "it ends in letters without sense")
def text_random_tail(mail: Facts) -> str:
    words = mail.shown[-400:].split()[-6:]
    return next((word for word in words if is_noise(word)), "")


@rule(0.6, "hardly anything is written in it")
def text_tiny(mail: Facts) -> str:
    return _if(len(mail.shown.strip()) < 60 and mail.links, mail.shown.strip())


def _phrases(table: str) -> None:
    """Rules that fit where one of their phrases stands."""
    for block in re.split(r"\n(?=\S)", table.strip()):
        head, _, rest = block.partition("\n")
        name, weight, words = head.split(" ", 2)
        phrases = tuple(one.strip() for one in rest.replace("\n", "").split("|") if one.strip())
        keys = frozenset(map(key_of, phrases))
        RULES.append(Rule(name, words, float(weight), partial(_first_of, phrases, keys)))


def _first_of(phrases: tuple[str, ...], keys: frozenset[str], mail: Facts) -> str:
    if keys.isdisjoint(mail.words):
        return ""
    return next((phrase for phrase in phrases if phrase in mail.lower), "")


# A name, a weight, and what it says; below it the phrases.
_PHRASES = """
phrase_removal 0.8 it tells how to be taken off its list
    to be removed | be removed from | remove me | to remove your | removed from our | wish to unsubscribe |
    opt-out | opt out | no longer wish to receive | do not wish to receive | stop receiving | future mailings
phrase_not_spam 1.2 it protests that it is no spam
    not spam | is not unsolicited | in compliance with | s. 1618 | section 301 | never spam | spam policy |
    you are receiving this | you received this | you have received this | opted in | opted-in | opt-in
phrase_click 0.6 it wants to be clicked
    click here | click below | click the link | click on the | visit our | order now | apply now | sign up now
phrase_free 0.5 it gives something away
    for free | 100% free | absolutely free | free trial | no obligation | no cost | risk free | risk-free |
    money back | money-back | satisfaction guaranteed
phrase_money 0.8 it promises money
    make money | extra income | work from home | work at home | financial freedom | get paid | per week |
    earn up to | million dollars | multi-level | home based business | be your own boss
phrase_heritage 1.2 it offers a fortune that somebody left
    next of kin | foreign partner | strictly confidential | transfer of | late husband | bank of nigeria |
    beneficiary | urgent business | utmost confidence | million united states | inheritance | deceased
phrase_loan 0.8 it offers credit
    mortgage | refinance | low rate | interest rate | credit card debt | bad credit | debt consolidation |
    lowest rates | pre-approved | get out of debt
phrase_health 0.8 it sells medicine
    viagra | cialis | weight loss | lose weight | human growth | prescription | penis | enlargement | hgh |
    burn fat | diet pill | herbal | pharmacy
phrase_adult 0.8 it is about sex
    xxx | porn | adult site | must be 18 | over 18 | 18 years | hot girls | live girls | webcam | hardcore
phrase_addresses 1.0 it sells addresses or mass mail
    email addresses | e-mail addresses | bulk email | bulk e-mail | targeted email | email marketing |
    million emails | search engines | web traffic | mailing list of
phrase_shares 0.8 it recommends shares
    stock alert | investors | forward-looking | forward looking | share price | stock pick | penny stock
phrase_account 0.8 it threatens with an account's end
    verify your account | confirm your account | account has been | suspended | unusual activity |
    update your account | will be closed | your mailbox | storage is full | confirm your identity |
    security alert
phrase_blackmail 1.5 it blackmails
    bitcoin | your webcam | recorded you | your password is | btc address
phrase_friend 0.5 it addresses a friend that it does not know
    dear friend | dear sir | dear customer | dear user | dear valued | dear home | dear member | hello friend
phrase_call 0.5 it wants a call
    call now | call today | call toll | toll free | toll-free | 1-800 | 1-888 | call us
phrase_limited 0.5 it is in a hurry
    limited time | act now | offer expires | while supplies | don't miss | act fast | hurry | last chance |
    today only | expires
"""
_phrases(_PHRASES)


# ── language and charset ──────────────────────────────────────────────────────────────────────────────────────────────


@rule(0.6, "it says a charset that does not exist")
def charset_unknown(mail: Facts) -> str:
    for name in sorted(mail.charsets)[:5]:
        try:
            codecs.lookup(name)
        except (LookupError, ValueError):
            return name
    return ""


@rule(0.8, "it says a charset of a language that it is not written in")
def charset_unneeded(mail: Facts) -> str:
    foreign = (
        "windows-1251",
        "koi8-r",
        "gb2312",
        "gbk",
        "big5",
        "euc-kr",
        "ks_c_5601-1987",
        "shift_jis",
        "iso-2022-jp",
    )
    return (
        _if(mail.shown.isascii(), next((name for name in foreign if name in mail.charsets), ""))
        if any(name in mail.charsets for name in foreign)
        else ""
    )


@rule(0.8, "it is written in Chinese, Japanese or Korean")
def charset_east(mail: Facts) -> str:
    east = ("gb2312", "gbk", "gb18030", "big5", "euc-kr", "ks_c_5601-1987", "shift_jis", "iso-2022-jp")
    return next((name for name in east if name in mail.charsets), "")


# ── attachments (what they are is for spam.attachments; here is how they come) ────────────────────────────────────────


@rule(1.5, "an attachment's name turns the direction of writing to hide its ending")
def attached_direction(mail: Facts) -> str:
    return next((ascii(name) for name in mail.names if _DIRECTION.search(name)), "")


@rule(1.5, "an encrypted archive comes with its password")
def attached_password(mail: Facts) -> str:
    archive = next((name for name in mail.names if name.lower().endswith((".zip", ".rar", ".7z"))), "")
    return _if(archive and re.search(r"pass(?:word|code)?\s{0,3}+(?:is|:)", mail.lower[:4000]), archive)


@rule(1.0, "a page is attached, which opens beside all checks of links")
def attached_page(mail: Facts) -> str:
    return next((name for name in mail.names if name.lower().endswith((".htm", ".html", ".shtml", ".svg", ".mht"))), "")


@rule(1.2, "an attachment says that it is something else than its name")
def attached_other_type(mail: Facts) -> str:
    for part in mail.parts:
        name = (part.param("name") or "").lower()
        if part.type in ("audio", "image", "video") and name.endswith(
            (".exe", ".scr", ".pif", ".bat", ".com", ".js", ".vbs", ".zip", ".htm", ".html")
        ):
            return f"{name} as {part.type}/{part.subtype}"[:200]
    return ""


@rule(0.7, "an attachment comes with hardly a word")
def attached_alone(mail: Facts) -> str:
    return _if(
        mail.names and len(mail.shown.strip()) < 40 and not mail.has(b"in-reply-to"),
        mail.names[0] if mail.names else "",
    )
