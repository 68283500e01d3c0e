"""What is made to cost a filter time or memory is bounded, and the finding says so. Times are those of the CPU."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.dns import Answer, TemporaryDnsError
from appliance.errors import MessageError
from appliance.mail.authors import read_authors
from appliance.mail.authres import without_forged
from appliance.mail.message import MAX_HEADER, Message
from plugins.spam.attachments.config import AttachmentsConfig
from plugins.spam.attachments.policy import looked
from plugins.spam.bayes.protocol_tokens import MAX_TOKENS, tokens_of
from plugins.spam.dkim import keys
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dkim.verification import MAX_SIGNATURES, Bodies, verify
from plugins.spam.dmarc.evaluation import evaluate
from plugins.spam.senderid.protocol_pra import of_pra, responsible
from plugins.spam.spf.config import SpfConfig
from plugins.spam.spf.evaluation import Asked, check_host, peer_address
from plugins.spam.spf.mechanism import Spf
from tests.plugins.spam.dkim.signed_mail import Keys, key, signed, verdicts
from tests.plugins.spam.stranger import MESSAGE, core_with, envelope, session

MIB = 1 << 20
FROM = b"From: a@x.test\r\n"


@contextlib.contextmanager
def cpu(seconds: float) -> Iterator[None]:
    """What is inside takes no more of this process's time."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def by_all(message: Message) -> None:
    """Shown to every filter that reads the message itself."""
    assert len(tokens_of(message)) <= MAX_TOKENS
    assert len(looked(message, AttachmentsConfig())) < 20
    read_authors(message)
    responsible(message)
    without_forged(message, "mail.test")
    assert len(verdicts(message, Keys(), now=None)) <= MAX_SIGNATURES


# ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [b"A:\r\n", b"From: a@b.test\r\n", b"Received: x\r\n", b"Authentication-Results: mail.test; none\r\n",
     b"DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=b; h=from; bh=aaaa; b=aaaa\r\n", b"Subject: =?utf-8?q?a?=\r\n",
     b"To: a@b.test,\r\n c@d.test\r\n", b"Sender: (((((\r\n"],
)  # fmt: skip
def test_as_many_fields_as_a_header_holds(line: bytes) -> None:
    message = Message.parse(line * ((MAX_HEADER - 4) // len(line)) + b"\r\n")
    with cpu(4):
        by_all(message)
    assert read_authors(message).problem


def test_a_million_fields_are_no_header() -> None:
    with cpu(4), pytest.raises(MessageError):
        Message.parse(b"A:\r\n" * 1_000_000 + b"\r\n")


@pytest.mark.parametrize(
    "value", [b"(" * 900_000, b'"\\' * 450_000, b"<" * 900_000, b"=?a?q?" * 150_000, b"a," * 450_000]
)
def test_a_field_as_long_as_a_header(value: bytes) -> None:
    with cpu(6):
        for name in (b"From: ", b"Sender: ", b"Subject: ", b"Content-Type: ", b"DKIM-Signature: "):
            by_all(Message.parse(name + value + b"\r\n\r\n"))


def nested(octets: int, levels: int = 300) -> bytes:
    """Multiparts in multiparts, the innermost with the rest as text."""
    head = FROM + b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
    inner = b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1) for level in range(levels)
    )
    return head + inner + b"--b%d\r\n\r\n" % levels + b"line of text <a href=x>\r\n" * (octets // 25)


@pytest.mark.parametrize(
    "text",
    [nested(4 * MIB), FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 400_000,
     FROM + b"Content-Type: text/html\r\n\r\n" + b"<a <b <!-- &#x \r\n" * 250_000,
     FROM + b"Content-Type: text/html\r\n\r\n" + b"<" * (4 * MIB),
     FROM + b"\r\n" + b"http://" * (MIB // 2),
     FROM + b"Content-Type: message/rfc822\r\n\r\n" * 3000],
    ids=["nested", "parts", "html", "open", "links", "messages"],
)  # fmt: skip
def test_texts_that_never_end(text: bytes) -> None:
    message = Message.parse(text)
    with cpu(6):
        by_all(message)


def test_nested_parts_of_a_hundred_megabytes() -> None:
    message = Message.parse(nested(100 * MIB))
    with cpu(20):
        by_all(message)


def test_a_signed_text_is_hashed_in_pieces() -> None:
    one = key("ed25519")
    message = signed(one, FROM.replace(b"x.test", b"office.test") + b"\r\n" + b"line  of text \r\n" * (MIB // 16))
    tracemalloc.start()
    try:
        found = asyncio.run(verify(message, Keys(one), now=None))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ([verdict.result for verdict in found], peak < 4 * MIB) == (["pass"], True)
    assert asyncio.run(Bodies(message).length("relaxed")) == 14 * (MIB // 16)


# ── DNS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Dns:
    """The same answer to every question."""

    def __init__(self, *records: bytes) -> None:
        self.records = records

    async def look_up(self, name: str, rdtype: str) -> Answer:
        return Answer(self.records, 300)


class DeafDns(Dns):
    """No answer, ever."""

    async def look_up(self, name: str, rdtype: str) -> Answer:
        await asyncio.Event().wait()
        raise TemporaryDnsError("nobody waits that long")


async def by_spf(names: Dns) -> str:
    asked = Asked(peer_address("192.0.2.1"), "h.test", "a@x.test")
    return (await check_host(names, asked, "x.test", receiver="me.test", now=0)).result


async def by_dmarc(names: Dns) -> str:
    return (await evaluate(names, "x.test", (), lambda domain: domain)).result


async def by_dkim(names: Dns) -> str:
    text = FROM + b"DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=aaaa; b=aaaa\r\n\r\n"
    return (await verify(Message.parse(text), names, now=None))[0].result


TEN_MIB = 10 * MIB


@pytest.mark.parametrize(
    ("ask", "record"),
    [
        (by_spf, b"v=spf1 " + b"a " * (TEN_MIB // 2)),
        (by_spf, b"v=spf1 exists:" + b"%{d}" * (TEN_MIB // 4)),
        (by_spf, b"v=spf1 " + b"x=y " * (TEN_MIB // 4)),
        (by_dmarc, b"v=DMARC1; p=none;" + b"x=y;" * (TEN_MIB // 4)),
        (by_dmarc, b"v=DMARC1; rua=" + b"mailto:a@b.test," * (TEN_MIB // 16)),
        (by_dkim, b"v=DKIM1; p=" + b"A" * TEN_MIB),
        (by_dkim, b"v=DKIM1;" + b"t=y;" * (TEN_MIB // 4)),
    ],
    ids=["mechanisms", "macros", "modifiers", "policy", "reports", "key", "flags"],
)
async def test_a_record_of_ten_megabytes(ask: Callable[[Dns], Awaitable[str]], record: bytes) -> None:
    with cpu(2):
        assert await ask(Dns(record)) == "permerror"


async def test_records_without_number() -> None:
    with cpu(4):
        assert await by_spf(Dns(*[b"v=spf1 -all"] * 100_000)) == "permerror"
        assert await by_dmarc(Dns(*[b"v=DMARC1; p=none"] * 100_000)) == "none"
        assert await by_dkim(Dns(*[b"v=DKIM1; p=AAAA"] * 100_000)) == "permerror"
        assert len(of_pra([b"spf2.0/" + b"pra," * (MIB // 4) + b" "])) <= 1


@pytest.mark.parametrize("exponent", [2**64 + 1, 2**2047 + 1, 2**4095 + 1], ids=["64", "2047", "4095"])
def test_a_key_with_an_absurd_exponent(exponent: int) -> None:
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    der = bytes(_rsa_key(modulus, exponent))
    with cpu(2), pytest.raises(TagError):
        keys.load(b"v=DKIM1; k=rsa; p=" + base64.b64encode(der))


def _rsa_key(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo in DER, which no library makes for such numbers."""

    def tlv(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2, "big")
        return bytes([tag]) + length + content

    def integer(number: int) -> bytes:
        return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))

    algorithm = tlv(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    return tlv(0x30, algorithm + tlv(3, b"\0" + tlv(0x30, integer(modulus) + integer(exponent))))


def test_the_form_of_such_a_key() -> None:
    public = rsa.generate_private_key(65537, 2048).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert _rsa_key(public.public_numbers().n, 65537) == der


async def test_dns_that_never_answers(tmp_path: Path) -> None:
    core = core_with(tmp_path, "", SpfConfig(timeout=1.0))
    object.__setattr__(core, "resolver", DeafDns())
    found = await Spf(core).authenticate_message(session(), envelope(), MESSAGE, "mechanisms", ()) or ()
    assert [(one.name, one.result, one.score) for one in found] == [("spf", "temperror", 0.0)]
