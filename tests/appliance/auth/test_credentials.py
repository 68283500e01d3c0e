"""Verifiers: how they are made and checked."""

import pytest

from appliance.auth.credentials import Credential, make_credentials, password_matches, read_verifiers
from appliance.wire.sasl.scram import ScramVerifier


def test_strong_verifiers_only_unless_asked() -> None:
    made = dict(make_credentials("palomar"))
    assert list(made) == ["argon2id", "scram-sha-256"]
    assert made["argon2id"].startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")
    assert ScramVerifier.parse(made["scram-sha-256"]).iterations >= 4096
    weak = dict(make_credentials("palomar", weak=True))
    assert list(weak) == ["argon2id", "scram-sha-256", "scram-sha-1", "plain"]
    assert weak["plain"] == b"palomar"


def test_passwords_are_prepared_before_hashing() -> None:
    made = dict(make_credentials("cafe\u0301 \u2168"))
    assert password_matches(made["argon2id"], "caf\u00e9 IX")
    assert not password_matches(made["argon2id"], "cafe IX")


@pytest.mark.parametrize(
    "verifier",
    [  # of the password "palomar", by the reference implementation
        b"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$9ESMwOQIqELfz+XXuxB+vMXTnmTeRerD4LUiL0vNKjw",
        b"$argon2id$v=19$m=64,t=3,p=4$cGVwcGVycGVwcGVy$E9Zsm8QSPktH33KlWBJcEg",
    ],
)
def test_verifiers_of_another_implementation_are_understood(verifier: bytes) -> None:
    assert password_matches(verifier, "palomar")
    assert not password_matches(verifier, "palomas")


def test_no_or_a_damaged_verifier_matches_nothing() -> None:
    assert not password_matches(None, "palomar")
    assert not password_matches(b"$argon2id$rubbish", "palomar")
    assert not password_matches(b"palomar", "palomar")
    assert not password_matches(b"$argon2id$v=19$m=19456,t=2,p=1$" + b"c2Fs" * 40, "palomar")


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 1025])
def test_unfit_passwords_are_refused_in_words(password: str) -> None:
    with pytest.raises(ValueError, match=r"password|character"):
        make_credentials(password)


def test_a_credential_does_not_show_its_data() -> None:
    assert "hunter2" not in repr(Credential("plain", "ana@x.test", "ana@x.test", b"hunter2"))


def test_verifiers_made_elsewhere_are_read_as_they_were_written() -> None:
    made = make_credentials("palomar")
    assert read_verifiers(" ".join(data.decode() for _, data in made)) == made
    assert read_verifiers(made[0][1].decode()) == made[:1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "palomar",
        "$6$salt$hash",
        "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$HTU8HTy+xIlyqCm/bmoE/rsMKLnjIzXVWNQZYxqoplg",
        "$argon2id$v=19$m=19456,t=999,p=1$c2FsdHNhbHQ$HTU8HTy+xIlyqCm/bmoE/rsMKLnjIzXVWNQZYxqoplg",
        "SCRAM-SHA-256$15000:c2FsdA==$eA==:eA==",
        make_credentials("palomar")[1][1].decode(),  # no PLAIN without argon2id
    ],
)
def test_verifiers_that_are_none_or_cost_too_much_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hash|verifier|login"):
        read_verifiers(text)
