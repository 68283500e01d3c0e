"""TLS reports on paper: records, writing, reading within caps."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.tlspolicy import protocol_tlsrpt
from plugins.tlspolicy.protocol_tlsrpt import (
    AppliedPolicy,
    Counted,
    Failure,
    TlsrptError,
    https_target,
    mail_address,
    read_report,
    report_uris,
    write_report,
)

COUNTED = [
    Counted(
        AppliedPolicy("sts", "b.test", ("version: STSv1", "mode: testing"), ("*.b.test",)),
        5326,
        {
            Failure("certificate-expired", "mx1.b.test", "203.0.113.56", "2001:db8::1"): 100,
            Failure("validation-failure", reason="mx not in the policy"): 3,
        },
    ),
    Counted(AppliedPolicy("no-policy-found", "b.test"), 1, {}),
]


def report() -> bytes:
    return write_report(
        COUNTED,
        organization="Office",
        contact="tls@me.test",
        report_id="1@me.test",
        begin=1_459_468_800,
        end=1_459_555_199,
    )


@pytest.mark.parametrize(
    ("texts", "uris"),
    [
        ([b"v=TLSRPTv1; rua=mailto:a@b.test"], ["mailto:a@b.test"]),
        ([b"v=TLSRPTv1;rua=mailto:a@b.test, https://r.test/v1 ; x=y;"], ["mailto:a@b.test", "https://r.test/v1"]),
        ([b"v=TLSRPTv1; rua=http://r.test/, ftp://x, mailto:nobody, https://, https://u@r.test/"], []),
        ([b"v=TLSRPTv1"], []),
        ([b"v=TLSRPTv1; rua=mailto:a@b.test", b"v=TLSRPTv1; rua=mailto:c@b.test"], []),
        ([b"v=TLSRPTv2; rua=mailto:a@b.test"], []),
        (
            [b"v=TLSRPTv1; rua=" + b",".join(b"mailto:a%d@b.test" % n for n in range(50))],
            [f"mailto:a{n}@b.test" for n in range(10)],
        ),
        ([b"v=TLSRPTv1; rua=mailto:a%0d%0aBcc:x@b.test"], []),
    ],
)
def test_where_reports_go(texts: list[bytes], uris: list[str]) -> None:
    assert report_uris(texts) == uris


def test_targets() -> None:
    assert str(mail_address("mailto:a%2Bb@c.test?subject=x")) == "a+b@c.test"
    assert https_target("https://r.test:8443/v1/x?y=1") == ("r.test", 8443, "/v1/x?y=1")
    assert https_target("https://r.test") == ("r.test", 443, "/")
    assert https_target("https://r.test:99999/") is None
    assert https_target("https://r.test/\r\nX: y") is None


def test_a_report_is_as_the_rfc_shows_it() -> None:
    """The keys and shapes of RFC 8460 appendix B."""
    made = json.loads(report())
    assert made["date-range"] == {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"}
    assert made["policies"][0] == {
        "policy": {
            "policy-type": "sts",
            "policy-domain": "b.test",
            "policy-string": ["version: STSv1", "mode: testing"],
            "mx-host": ["*.b.test"],
        },
        "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 103},
        "failure-details": [
            {
                "result-type": "certificate-expired",
                "sending-mta-ip": "2001:db8::1",
                "receiving-mx-hostname": "mx1.b.test",
                "receiving-ip": "203.0.113.56",
                "failed-session-count": 100,
            },
            {
                "result-type": "validation-failure",
                "failure-reason-code": "mx not in the policy",
                "failed-session-count": 3,
            },
        ],
    }


@pytest.mark.parametrize("packed", [False, True])
def test_what_we_write_we_can_read(packed: bool) -> None:
    data = gzip.compress(report()) if packed else report()
    read = read_report(data, packed=packed)
    assert (read.organization, read.report_id, read.begin) == ("Office", "1@me.test", "2016-04-01T00:00:00Z")
    assert [(one.type, one.domain, one.successes, one.failures) for one in read.policies] == [
        ("sts", "b.test", 5326, 103),
        ("no-policy-found", "b.test", 1, 0),
    ]
    assert read.policies[0].details == (
        "100 × certificate-expired at mx1.b.test [203.0.113.56] from 2001:db8::1",
        "3 × validation-failure: mx not in the policy",
    )


def test_a_gzip_bomb_is_put_down_early() -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(TlsrptError, match="unpacks to more than"):
            read_report(bomb, packed=True)
        assert tracemalloc.get_traced_memory()[1] < 3 * protocol_tlsrpt.MAX_REPORT  # it was never unpacked whole
    finally:
        tracemalloc.stop()
    with pytest.raises(TlsrptError, match="compressed report has more"):
        read_report(bytes(protocol_tlsrpt.MAX_PACKED + 1), packed=True)
    with pytest.raises(TlsrptError, match="report has more"):
        read_report(bytes(protocol_tlsrpt.MAX_REPORT + 1), packed=False)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no TLS report"),
        (b"[]", "no TLS report"),
        (b"[" * 100_000, "no TLS report"),
        (b'{"organization-name": 1}', "no TLS report"),
        (
            report().replace(
                b'"policies":[', b'"policies":[' + b"%b," % (b'{"policy":{"policy-type":"sts"}},' * 1000)[:-1]
            ),
            "1000 policies",
        ),
    ],
)
def test_broken_reports(data: bytes, words: str) -> None:
    with pytest.raises(TlsrptError, match=words):
        read_report(data, packed=False)
    with pytest.raises(TlsrptError):
        read_report(gzip.compress(data)[:-9], packed=True)


def test_strangers_cannot_write_on_the_terminal() -> None:
    nasty = report().replace(b"Office", b"\\u001b[2J" + b"x" * 5000).replace(b"5326", b"-1")
    read = read_report(nasty, packed=False)
    assert read.organization.isprintable()
    assert len(read.organization) == protocol_tlsrpt.MAX_TEXT
    assert read.policies[0].successes == 0


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(gzip.compress)), st.booleans())
def test_anything_is_a_report_or_an_error(data: bytes, packed: bool) -> None:
    with pytest.raises(TlsrptError):
        read_report(data, packed=packed)
