"""TLS over memory buffers: cipher bytes in, plain bytes out. No sockets, no event loop.

The event loops' own TLS transports keep a 256 KiB buffer per connection, drop answers in flight when the peer
half-closes, and queue plain text a second time. Driving `ssl.SSLObject` here avoids all three, and server and
client side behave alike on every loop.
"""

from __future__ import annotations

import _ssl
import hashlib
import ssl
from typing import Any, Literal

from appliance.errors import ApplianceError
from appliance.mail.session import ClientCertificate, TlsInfo

RECORD = 16384  # the most plain text one TLS record carries (RFC 8446 section 5.1)


TlsFailure = Literal[
    "",
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
]
"""Why TLS was not what it should be, in the words of RFC 8460 section 4.3; empty: it is not about TLS."""

# OpenSSL's X509_V_ERR_…, as `SSLCertVerificationError.verify_code` gives them.
_EXPIRED = frozenset({9, 10})  # not yet valid, not valid any more
_MISMATCH = frozenset({62, 63, 64})  # host name, e-mail address, IP address


class TlsError(ApplianceError):
    """TLS could not be agreed, or the peer broke it later. The text is OpenSSL's, fit for a log."""

    def __init__(self, text: str, *, failure: TlsFailure = "validation-failure") -> None:
        super().__init__(text)
        self.failure: TlsFailure = failure


class NamedObject(ssl.SSLObject):
    """An SSLObject that remembers the server name its client asked for (RFC 6066 section 3)."""

    sni: str = ""


class ServerContext(ssl.SSLContext):
    """A server's context with what channel binding needs: the hash of its certificate (RFC 5929 section 4)."""

    binding: bytes = b""


class TlsLink:
    """One TLS connection between two byte streams.

    `receive` takes what the wire brought and gives plain text; `send` takes plain text; `outgoing` gives what the
    wire is to be sent. Every call can produce outgoing bytes (handshake, alerts, key updates), so it is to be asked
    after each.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "eof", "established")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self.established = False
        self.eof = False  # the peer has said that it sends no more (close_notify)

    def start(self) -> None:
        """Begin the handshake: a client has something to say first."""
        self._handshake()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the wire and return the plain text in them, b"" while there is none yet.

        Raises TlsError; an alert for the peer may then be waiting in `outgoing`.
        """
        self._incoming.write(data)
        if not self.established and not self._handshake():
            return b""
        parts: list[bytes] = []
        try:
            while part := self._object.read(RECORD):
                parts.append(part)
            self.eof = True
        except ssl.SSLWantReadError:
            pass  # all complete records are read
        except ssl.SSLZeroReturnError:
            self.eof = True
        except ssl.SSLError as error:
            raise TlsError(_words(error)) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes) -> None:
        """Encrypt. Raises TlsError when the link is broken or the handshake has not ended."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]  # one record at a time
        except ssl.SSLError as error:
            raise TlsError(_words(error)) from error

    def outgoing(self) -> bytes:
        """Take the bytes that the wire is to be sent."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close(self) -> None:
        """Say close_notify; the peer's is not awaited. A link that never came up says nothing."""
        try:
            self._object.unwrap()
        except (ssl.SSLError, ValueError):  # wants the peer's answer, or there is nothing to shut down
            return

    def info(self) -> TlsInfo:
        """What was agreed. Only after the handshake."""
        cipher = self._object.cipher() or ("", "", 0)
        return TlsInfo(
            version=self._object.version() or "",
            cipher=cipher[0],
            bits=cipher[2],
            server_name=getattr(self._object, "sni", "") or self._object.server_hostname or "",
            binding=getattr(self._object.context, "binding", b""),
            client=self._client() if self._object.server_side else None,
        )

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER, or None if it showed none."""
        return self._object.getpeercert(binary_form=True)

    def peer_chain(self) -> list[bytes]:
        """The certificates that the peer showed, in DER and its order: its own, then those of its issuers.

        Nothing is known of them but that the peer holds the key of the first.
        """
        if hasattr(self._object, "get_unverified_chain"):  # from Python 3.13 on
            return list(self._object.get_unverified_chain())
        found = self._object._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        return [one.public_bytes(_ssl.ENCODING_DER) for one in found or ()]

    def _client(self) -> ClientCertificate | None:
        """The certificate of our client, if it was asked for one; a bad one has ended the handshake."""
        if self._object.context.verify_mode is ssl.CERT_NONE or (der := self.peer_certificate()) is None:
            return None
        names: Any = (self._object.getpeercert() or {}).get("subjectAltName", ())
        addresses = tuple(value for kind, value in names if kind == "email")
        return ClientCertificate(hashlib.sha256(der).hexdigest(), addresses)

    def _handshake(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise TlsError(_words(error), failure=failure_of(error)) from error
        self.established = True
        return True


def failure_of(error: Any) -> TlsFailure:
    """The word of RFC 8460 for what went wrong in a handshake (`ssl.SSLError`)."""
    code = getattr(error, "verify_code", None)
    if code is None:
        return "validation-failure"
    if code in _EXPIRED:
        return "certificate-expired"
    return "certificate-host-mismatch" if code in _MISMATCH else "certificate-not-trusted"


def _words(error: Any) -> str:
    """OpenSSL's reason without its source lines: "certificate verify failed: self-signed certificate"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error)
