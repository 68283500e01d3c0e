"""TLSA records against certificates."""

from __future__ import annotations

import datetime
import hashlib

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from appliance.certificate import CertificateError, public_key_info
from appliance.tlslink import TlsError
from plugins.tlspolicy.tlsa import DANE_EE, DANE_TA, Tlsa, TlsaError, prove, read_records
from tests.plugins.tlspolicy.world import host

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()
DAY = datetime.timedelta(days=1)
ONE = host()


def record(der: bytes, usage: int, selector: int = 0, matching: int = 1) -> Tlsa:
    data = der if selector == 0 else public_key_info(der)
    return Tlsa(
        usage, selector, matching, [data, hashlib.sha256(data).digest(), hashlib.sha512(data).digest()][matching]
    )


def made(
    name: str,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    *,
    ca: bool | None = True,
    **more: object,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate by hand; `ca` None leaves basicConstraints out."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    at = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - DAY)
        .not_valid_after(at + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, more.get("path")), critical=True)  # type: ignore[arg-type]
    if "constraints" in more:
        builder = builder.add_extension(x509.NameConstraints([x509.DNSName("other.test")], None), critical=True)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def der(one: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> bytes:
    return one[0].public_bytes(serialization.Encoding.DER)


ROOT = made("root", None)
MIDDLE = made("middle", ROOT)
LEAF = made("mx.b.test", MIDDLE, ca=False)


@pytest.mark.parametrize(
    ("chain", "anchor", "good"),
    [
        ([LEAF, MIDDLE], MIDDLE, True),
        ([LEAF, MIDDLE, ROOT], ROOT, True),
        ([LEAF, ROOT, MIDDLE], ROOT, True),  # the order that they are shown in does not matter
        ([LEAF], MIDDLE, False),  # a hash of an issuer that is not shown proves nothing
        ([LEAF, ROOT], ROOT, False),
        ([LEAF, MIDDLE, ROOT], LEAF, False),  # usage 2 never names the host's own
    ],
)
def test_a_path_leads_to_the_anchor(chain: list, anchor: tuple, good: bool) -> None:  # type: ignore[type-arg]
    records = [record(der(anchor), DANE_TA)]
    if good:
        prove(records, [der(one) for one in chain], ("mx.b.test",), NOW)
    else:
        with pytest.raises(TlsError):
            prove(records, [der(one) for one in chain], ("mx.b.test",), NOW)


def test_a_record_may_hold_the_anchor_itself() -> None:
    prove([record(der(ROOT), DANE_TA, matching=0)], [der(LEAF), der(MIDDLE)], ("mx.b.test",), NOW)


@pytest.mark.parametrize(
    ("issuer", "why"),
    [
        (made("middle", ROOT, ca=False), "no issuer"),
        (made("middle", ROOT, ca=None), "no issuer"),
        (made("middle", ROOT, constraints=True), "a constraint that is not checked"),
    ],
)
def test_who_may_not_sign_proves_nothing(issuer: tuple, why: str) -> None:  # type: ignore[type-arg]
    leaf = made("mx.b.test", issuer, ca=False)
    with pytest.raises(TlsError, match="no way leads"):
        prove([record(der(issuer), DANE_TA)], [der(leaf), der(issuer)], ("mx.b.test",), NOW)


def test_a_path_may_be_limited_in_length() -> None:
    root = made("root", None, path=0)
    middle = made("middle", root)
    leaf = made("mx.b.test", middle, ca=False)
    with pytest.raises(TlsError):
        prove([record(der(root), DANE_TA)], [der(leaf), der(middle), der(root)], ("mx.b.test",), NOW)


def test_a_certificate_that_only_names_the_issuer_is_not_signed_by_it() -> None:
    forged = made("mx.b.test", (MIDDLE[0], ec.generate_private_key(ec.SECP256R1())), ca=False)
    with pytest.raises(TlsError, match="no way leads"):
        prove([record(der(MIDDLE), DANE_TA)], [der(forged), der(MIDDLE)], ("mx.b.test",), NOW)


@pytest.mark.parametrize("days", [-3, 3])
def test_dates_count_for_anchors_and_not_for_the_host_s_own(days: int) -> None:
    at = NOW + days * 86_400
    prove([record(der(LEAF), DANE_EE)], [der(LEAF)], ("other.test",), at)
    with pytest.raises(TlsError, match="not valid at this time") as caught:
        prove([record(der(MIDDLE), DANE_TA)], [der(LEAF), der(MIDDLE)], ("mx.b.test",), at)
    assert caught.value.failure == "certificate-expired"


def test_circles_of_issuers_end() -> None:
    again = trustme.CA().create_child_ca()
    chain = [*ONE.chain, *[bytes(ssl_der) for ssl_der in ONE.chain[1:]] * 9]
    with pytest.raises(TlsError):
        prove([record(der(ROOT), DANE_TA)], chain, ("mx.b.test",), NOW)
    assert again is not None


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("3 1 1 " + "ab" * 32, True),
        ("2 0 2 " + "ab" * 64, True),
        ("3 1 1 " + "AB" * 16 + " " + "cd" * 16, True),  # as dnspython and dig write long ones
        ("3 1 1 00", False),
        ("3 1 2 " + "ab" * 32, False),
        ("3 1 3 " + "ab" * 32, False),
        ("3 2 1 " + "ab" * 32, False),
        ("0 1 1 " + "ab" * 32, False),
        ("1 0 1 " + "ab" * 32, False),
        ("4 0 1 " + "ab" * 32, False),
        ("3 0 0 deadbeef", False),
        ("3 0 0", False),
        ("3 1 1 xy", False),
        ("300 1 1 " + "ab" * 32, False),
        ("", False),
    ],
)
def test_which_records_can_be_used(text: str, usable: bool) -> None:
    records, unusable = read_records([text])
    assert (len(records), unusable) == ((1, 0) if usable else (0, 1))


def test_only_the_strongest_hash_of_a_kind_counts() -> None:
    weak, strong, other = "3 1 1 " + "ab" * 32, "3 1 2 " + "ab" * 64, "2 1 1 " + "ab" * 32
    assert [str(one) for one in read_records([weak, other, strong])[0]] == [other, strong]


def test_a_thousand_records_are_not_all_read() -> None:
    records, unusable = read_records("3 1 1 " + f"{n:064x}" for n in range(1000))
    assert len(records) + unusable == 64


texts = st.one_of(
    st.text(max_size=40),
    st.builds(lambda a, b, c, d: f"{a} {b} {c} {d.hex()}", *[st.integers(0, 4)] * 3, st.binary(max_size=70)),
)


@given(texts)
def test_any_text_is_a_record_or_an_error(text: str) -> None:
    try:
        one = Tlsa.parse(text)
    except TlsaError:
        return
    assert Tlsa.parse(str(one)) == one
    if one.usable:
        assert not one.fits(ONE.chain[0])


@given(st.data())
def test_damaged_certificates_prove_nothing(data: st.DataObject) -> None:
    whole = ONE.chain[0]
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes((whole[at] ^ data.draw(st.integers(1, 255)),)) + whole[at + 1 :]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for chain in ([damaged], [cut], [damaged, ONE.chain[1]], [cut, ONE.chain[1]]):
        with pytest.raises(TlsError):
            prove([record(whole, DANE_EE), record(ONE.chain[1], DANE_TA)], chain, ("mx.b.test",), NOW)


def test_what_is_no_certificate_has_no_key() -> None:
    for junk in (b"", b"\x30", b"\x30\x80", b"\x30\x03\x30\x01\x00", bytes(100)):
        with pytest.raises(CertificateError):
            public_key_info(junk)
    with pytest.raises(TlsError, match="showed no certificate"):
        prove([record(ONE.chain[0], DANE_EE)], [], ("mx.b.test",), NOW)
