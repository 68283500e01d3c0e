"""Authentication-Results: written, and removed where somebody else writes in our name."""

from __future__ import annotations

import pytest

from appliance.mail.authres import authentication_results, without_forged
from appliance.mail.message import Message


def test_clauses_have_a_line_each() -> None:
    assert authentication_results("mx.test", ["spf=pass smtp.mailfrom=a.test", "", "dkim=none"]) == (
        b"Authentication-Results: mx.test;\r\n spf=pass smtp.mailfrom=a.test;\r\n dkim=none\r\n"
    )
    assert authentication_results("mx.test", []) == b"Authentication-Results: mx.test;\r\n none\r\n"


@pytest.mark.parametrize(
    ("field", "stays"),
    [
        (b"Authentication-Results: mx.test; spf=pass\r\n", False),
        (b"AUTHENTICATION-RESULTS:\r\n MX.test 1; spf=pass\r\n", False),
        (b"Authentication-Results: (a) mx.test (b); spf=pass\r\n", False),
        (b'Authentication-Results: "mx.test"; spf=pass\r\n', False),
        (b"Authentication-Results: mx.test.evil.test; spf=pass\r\n", True),
        (b"Authentication-Results: other.test; spf=pass\r\n", True),
        (b"Authentication-Results:\r\n", True),
        (b"X-Spam-Status: No\r\n", False),
        (b"X-Spam-Score: 0\r\n", True),
        (b"BIMI-Location: v=BIMI1; l=https://evil.test/\r\n", False),
    ],
)
def test_what_is_taken_for_ours(field: bytes, stays: bool) -> None:
    message = Message.parse(b"A: 1\r\n" + field + b"B: 2\r\n\r\ntext\r\n")
    assert bytes(without_forged(message, "mx.test")) == b"A: 1\r\n" + field * stays + b"B: 2\r\n\r\ntext\r\n"
