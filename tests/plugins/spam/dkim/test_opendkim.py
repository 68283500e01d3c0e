"""The same signatures by OpenDKIM, both ways: our keys, our messages, one process of it for all of them."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance.mail.message import Message
from plugins.spam.dkim.signing import public_record
from tests.e2e import programs
from tests.plugins.spam.dkim.signed_mail import TEXT, Keys, key, signed, verdicts

pytestmark = pytest.mark.programs("opendkim")

HEADER, _, _ = TEXT.partition(b"\r\n\r\n")
MESSAGES = {
    "plain": TEXT,
    "empty": HEADER + b"\r\n\r\n",
    "blank": HEADER + b"\r\n\r\n\r\n \t\r\n\r\n",
    "8bit": HEADER + "\r\nX-Name: ñandú\r\n\r\n¿Qué tal?\r\n. dots ..\r\n".encode(),
    "folded": HEADER.replace(b"Subject: Hello\r\n", b"Subject: Hello  \r\n\t  \r\n") + b"\r\n\r\na \t b \r\n",
    "long": HEADER + b"\r\n\r\n" + b"line of the text\r\n" * 5000,
    "twice": HEADER + b"\r\nTo: second@elsewhere.test\r\nCc: a@b.test\r\n\r\ntext\r\n",
}
COMMON = "Syslog no\nRequireSafeKeys no\nSubDomains no\n"


def opendkim(folder: Path, config: str, messages: Mapping[str, bytes]) -> dict[str, str]:
    """What it says of each message, by name. It reads lines as files here have them, which end in LF."""
    (folder / "opendkim.conf").write_text(COMMON + config)
    for name, text in messages.items():
        (folder / f"{name}.eml").write_bytes(text.replace(b"\r\n", b"\n"))
    done = subprocess.run(
        [programs.find("opendkim"), "-x", "opendkim.conf", "-t", ",".join(f"{name}.eml" for name in messages)],
        cwd=folder, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    said: dict[str, str] = {}
    for piece in ("\n" + (done.stdout + done.stderr).decode("utf-8", "replace")).split("\nopendkim: ")[1:]:
        name, _, text = piece.partition(".eml:")
        said[name] = said.get(name, "") + text
    return said


@functools.cache
def _keys_file() -> str:
    return "".join(
        f"{one.selector}._domainkey.{one.domain} {public_record(one.private)}\n" for one in (key("rsa"), key("ed25519"))
    )


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_it_verifies_what_we_sign(tmp_path: Path, kind: str) -> None:
    (tmp_path / "keys").write_text(_keys_file())
    ours = {name: bytes(signed(key(kind), text)) for name, text in MESSAGES.items()}
    changed = {f"{name}-changed": text.replace(b"Hello", b"Hallo") for name, text in ours.items()}
    more = {f"{name}-more": text + b"more\r\n" for name, text in ours.items()}
    said = opendkim(tmp_path, "Mode v\nTestPublicKeys keys\n", ours | changed | more)
    assert sorted(name for name, text in said.items() if "succeeded" in text) == sorted(ours)
    assert len(said) == 3 * len(MESSAGES)


# Not Ed25519 with a header in the simple form: version 2.11 makes signatures there that it does not verify itself.
@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("rsa", "simple/simple"),
        ("rsa", "simple/relaxed"),
        ("rsa", "relaxed/simple"),
        ("rsa", "relaxed/relaxed"),
        ("ed25519", "relaxed/simple"),
        ("ed25519", "relaxed/relaxed"),
    ],
)
def test_we_verify_what_it_signs(tmp_path: Path, kind: str, form: str) -> None:
    one = key(kind)
    (tmp_path / "key").write_bytes(one.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    said = opendkim(
        tmp_path,
        f"Mode s\nDomain {one.domain}\nSelector {one.selector}\nKeyFile key\nInternalHosts 0.0.0.0/0\n"
        f"Canonicalization {form}\nSignatureAlgorithm {one.algorithm}\n",
        MESSAGES,
    )
    found = {}
    for name, text in MESSAGES.items():
        field = said[name].strip().replace("\r", "").replace("\n", "\r\n").encode() + b"\r\n"
        assert field.startswith(b"DKIM-Signature:"), said
        [verdict] = verdicts(Message.parse(field + text), Keys(one), now=None)
        found[name] = f"{verdict.result} {verdict.why}".strip()
    assert found == dict.fromkeys(MESSAGES, "pass")
