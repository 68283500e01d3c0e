"""EXTERNAL (RFC 4422 appendix A): the certificate that a client has shown in TLS is its login."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from appliance.auth.config import AuthConfig
from appliance.auth.exchange import FAILED, Authenticated, Challenge, Outcome, SaslConversation
from appliance.mail.session import ClientCertificate, Session
from appliance.wire.sasl.errors import SaslError
from appliance.wire.sasl.prepare import MAX_LOGIN, prepare_login


class External:
    """The mechanism. `usable` says whether there is an enabled account of that name."""

    name = "EXTERNAL"

    def __init__(self, config: Callable[[], AuthConfig], usable: Callable[[str], bool]) -> None:
        self._config = config
        self._usable = usable

    def begin(self, session: Session) -> SaslConversation:
        """See `SaslMechanism.begin`."""
        return _Conversation(self, session)

    def accounts(self, certificate: ClientCertificate) -> list[str]:
        """Whose login a certificate is: the account of its fingerprint, else all that its addresses name."""
        return list(dict.fromkeys(name for name in self._names(certificate) if self._usable(name)))

    def _names(self, certificate: ClientCertificate) -> Iterator[str]:
        known = {_digits(one): account for one, account in self._config().certificates.items()}
        if certificate.fingerprint in known:
            yield _prepared(known[certificate.fingerprint])
            return
        for address in certificate.addresses:
            yield _prepared(address)


class _Conversation:
    """One message: whom the client wants to act as, or nothing where its certificate says that alone."""

    __slots__ = ("_external", "_session")

    def __init__(self, external: External, session: Session) -> None:
        self._external = external
        self._session = session

    async def step(self, data: bytes | None) -> Outcome:
        """See `SaslConversation.step`."""
        if data is None:
            return Challenge(b"")
        wanted = _authzid(data)
        tls = self._session.tls
        accounts = self._external.accounts(tls.client) if tls is not None and tls.client is not None else []
        if wanted:
            accounts = [name for name in accounts if name == _prepared(wanted)]
        # A certificate for several accounts does not say which of them is meant.
        return Authenticated(accounts[0], accounts[0]) if len(accounts) == 1 else FAILED


def _authzid(data: bytes) -> str:
    """The identity to act as: UTF-8 without NUL (RFC 4422 appendix A.1). Raises SaslError."""
    if len(data) > MAX_LOGIN or b"\0" in data:
        raise SaslError("EXTERNAL takes a name without NUL, or nothing")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError("Names are UTF-8") from None


def _prepared(name: str) -> str:
    try:
        return prepare_login(name)
    except ValueError:
        return ""


def _digits(fingerprint: str) -> str:
    return fingerprint.replace(":", "").replace(" ", "").lower()
