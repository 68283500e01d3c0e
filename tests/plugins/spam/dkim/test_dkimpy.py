"""The same signatures by another implementation, both ways."""

from __future__ import annotations

import base64

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.message import Message
from tests.plugins.spam.dkim.signed_mail import TEXT, Keys, key, signed, verdicts

FORMS = [b"simple", b"relaxed"]
LINES = st.lists(st.text(" \tab:;=", max_size=12), max_size=6)


def by_dkimpy(text: bytes, kind: str, header_form: bytes, body_form: bytes) -> bytes:
    one = key(kind)
    if kind == "rsa":
        private = one.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    else:
        private = base64.b64encode(one.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    signature: bytes = dkim.sign(
        text, one.selector.encode(), one.domain.encode(), private,
        canonicalize=(header_form, body_form), signature_algorithm=one.algorithm.encode(),
    )  # fmt: skip
    return signature + text


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize("header_form", FORMS)
@pytest.mark.parametrize("body_form", FORMS)
def test_we_verify_what_it_signs(kind: str, header_form: bytes, body_form: bytes) -> None:
    message = Message.parse(by_dkimpy(TEXT, kind, header_form, body_form))
    assert [one.result for one in verdicts(message, Keys(key(kind)), now=None)] == ["pass"]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_it_verifies_what_we_sign(kind: str) -> None:
    records = {name.encode() + b".": text for name, text in Keys(key(kind)).records.items()}
    assert dkim.verify(bytes(signed(key(kind))), dnsfunc=lambda name, **_: records.get(name))


@settings(max_examples=60)
@given(LINES, LINES, st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_both_agree_on_any_text(subject: list[str], body: list[str], header_form: bytes, body_form: bytes) -> None:
    folded = "\r\n ".join(line.strip() or "x" for line in subject).encode()
    text = (
        b"From: ana@office.test\r\nSubject: " + folded + b"\r\n\r\n" + "".join(line + "\r\n" for line in body).encode()
    )
    message = Message.parse(by_dkimpy(text, "ed25519", header_form, body_form))
    assert [one.result for one in verdicts(message, Keys(key("ed25519")), now=None)] == ["pass"]


@pytest.mark.parametrize("added", [b"Subject: Other", b"From: <boss@office.test>", b"Content-Type: text/html"])
def test_a_field_that_readers_show_may_not_be_added(added: bytes) -> None:
    one, text = key("ed25519"), b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n" + TEXT
    private = base64.b64encode(one.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    names = [b"From", b"Subject", b"Content-Type"]
    made = dkim.sign(
        text, one.selector.encode(), b"office.test", private, signature_algorithm=b"ed25519-sha256",
        include_headers=names,
    )  # fmt: skip
    results = [
        verdicts(Message.parse(head + made + text), Keys(one), now=None)[0].result
        for head in (b"", b"X-Seen: y\r\n", added + b"\r\n")
    ]
    assert results == ["pass", "pass", "policy"]
