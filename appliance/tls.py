"""Certificates and TLS contexts: PEM files from the settings, or our own self-signed one. Settings: [tls].

Contexts are replaced as a whole when files change; connections keep the one they began with.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.certificate import Certificate, CertificateError, read_pem
from appliance.config import setting
from appliance.document import dotted
from appliance.errors import ConfigError, Problem
from appliance.tlslink import NamedObject, ServerContext

log = logging.getLogger(__name__)

POLL_S = 60.0  # between looks at the files' dates
RENEW_BEFORE_S = 30 * 86400.0  # a self-signed certificate is made anew this long before its end
WARN_BEFORE_S = 14 * 86400.0
CHILD_S = 60.0  # for making a certificate; a small board needs some seconds to load the library
CLOCK_SET_AT = 1_767_225_600.0  # 2026-01-01: a clock before that has never been set


Pair = tuple[str, Path, Path]  # where it stands in the settings, certificate, key


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificatePair:
    """One entry of [tls.names]: the certificate for one server name."""

    certificate: Path = setting(Path(), "PEM file: the certificate, then those of its issuers.")
    key: Path = setting(Path(), "PEM file of the private key, without a password.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsConfig:
    """[tls]"""

    certificate: Path | None = setting(
        None, "PEM file: the certificate, then those of its issuers. Without it a self-signed one is made."
    )
    key: Path | None = setting(None, "PEM file of the private key, without a password.")
    names: dict[str, CertificatePair] = setting(
        {}, 'Certificates for single server names (SNI), as tables `[tls.names."mail.example.org"]`; `*.` is allowed.'
    )
    minimum: Literal["1.2", "1.3"] = setting("1.2", "Lowest TLS version that is spoken.")
    trust: Path | None = setting(None, "PEM file of authorities to trust besides the system's, for verified delivery.")
    client_ca: Path | None = setting(
        None,
        "PEM file of authorities whose certificates are logins (EXTERNAL), and of revocation lists of theirs. With it, "
        "mail programs are asked for a certificate; one of another authority, ended or revoked is refused in TLS.",
    )

    def problems(self) -> Iterator[Problem]:
        """Halves of pairs. Whether the files can be used is another question, see `problems` below."""
        if self.certificate is not None and self.key is None:
            yield Problem("key", "is missing: the certificate needs it.", "Name the file of its private key.")
        if self.key is not None and self.certificate is None:
            yield Problem("certificate", "is missing: the key needs it.", "Name the file of its certificate.")
        for name, pair in self.names.items():
            for half, path in (("certificate", pair.certificate), ("key", pair.key)):
                if path == Path():
                    yield Problem(dotted("names", name, half), "is missing.", "Name both files, certificate and key.")


class Certificates:
    """The TLS contexts of this machine, and the service that follows changed files by their dates and on reload.

    `config` and `hostname` are asked again on reload. `folder` is the data folder; the self-signed pair lives in its
    `tls` folder. `now` gives epoch seconds, `sleep` waits: for tests. Call `load` before anything else: it tells
    what is wrong.
    """

    name = "certificates"
    after: Sequence[str] = ()

    def __init__(
        self,
        config: Callable[[], TlsConfig],
        hostname: Callable[[], str],
        folder: Path,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._config = config
        self._hostname = hostname
        self._folder = folder / "tls"
        self._self_signed: Pair = ("tls", self._folder / "self-signed.pem", self._folder / "self-signed.key")
        self._now = now
        self._contexts: dict[str, ServerContext] = {}  # by server name; "" is the default
        self._login_contexts: dict[str, ServerContext] = {}  # the same for logins, where certificates are
        self._facts: dict[str, Certificate] = {}
        self._clients: dict[bool, ssl.SSLContext] = {}
        self._seen: tuple[TlsConfig, dict[Path, tuple[int, int, int]]] | None = None

    def load(self) -> None:
        """Read all files, making the self-signed pair if it is needed. Raises ConfigError with every Problem.

        On failure everything stays as it was.
        """
        config = self._config()
        problems: list[Problem] = []
        contexts: dict[str, ServerContext] = {}
        logins: dict[str, ServerContext] = {}
        facts: dict[str, Certificate] = {}
        pairs = _pairs(config)
        if "" not in pairs:
            self._ensure_self_signed()
            pairs[""] = self._self_signed
        seen = (config, _dates(pairs, config))
        for name, (place, certificate, key) in pairs.items():
            try:
                contexts[name], facts[name] = _server_context(certificate, key, place, config.minimum)
                if config.client_ca is not None:
                    logins[name], _ = _server_context(certificate, key, place, config.minimum)
            except ConfigError as error:
                problems += error.problems
        problems += _trust_problems(config)
        if config.client_ca is not None and not problems:
            for context in logins.values():
                _ask_for_certificates(context, config.client_ca)
                context.sni_callback = self._choose_login
        self._seen = seen
        if problems:
            raise ConfigError(problems)
        for context in contexts.values():
            context.sni_callback = self._choose
        self._contexts, self._login_contexts, self._facts, self._clients = contexts, logins, facts, {}

    def server_context(self) -> ssl.SSLContext:
        """The context for the next server handshake; the client's server name may still switch it."""
        return self._contexts[""]

    def login_context(self) -> ssl.SSLContext:
        """The same for clients that may log in: it asks for a certificate of theirs where that can be a login."""
        return self._login_contexts[""] if self._login_contexts else self._contexts[""]

    def binding(self, server_name: str) -> bytes:
        """tls-server-end-point of the certificate that a client asking for this name gets (RFC 5929 section 4)."""
        return self._lookup(server_name).binding

    def client_context(self, verify: bool) -> ssl.SSLContext:
        """The context for connections that we make: verified by chain and name, or opportunistic."""
        context = self._clients.get(verify)
        if context is None:
            context = self._clients[verify] = self._new_client_context(verify)
        return context

    def facts(self) -> Mapping[str, Certificate]:
        """The certificates in use by server name; "" is the default one. For status and doctor."""
        return self._facts

    def expiring(self) -> list[str]:
        """Sentences on certificates that end soon or have ended. Silent while the clock has never been set."""
        now = self._now()
        if now < CLOCK_SET_AT:
            return []
        sentences = []
        for name, fact in self._facts.items():
            days = int((fact.not_after_at - now) // 86400)
            if fact.not_after_at <= now:
                sentences.append(f"the certificate for {name or 'this machine'} has ended")
            elif fact.not_after_at - now < WARN_BEFORE_S:
                sentences.append(f"the certificate for {name or 'this machine'} ends in {days} days")
        return sentences

    async def run(self, ready: Callable[[], None]) -> None:
        """Look at the files every POLL_S seconds until cancelled."""
        if not self._contexts:
            await asyncio.to_thread(self.load)
        ready()
        warned: list[str] = []
        while True:
            if (sentences := self.expiring()) != warned:
                for sentence in sentences:
                    log.warning("%s", sentence)
                warned = sentences
            await self._sleep(POLL_S)
            await self.reload()

    async def reload(self) -> None:
        """Look now. In a thread: making a certificate waits for a child."""
        await asyncio.to_thread(self.refresh)

    def refresh(self) -> bool:
        """Load again if a file has changed or the self-signed certificate is due. Failures are logged, once each."""
        config = self._config()
        pairs = _pairs(config)
        if "" not in pairs:
            pairs[""] = self._self_signed
            due = self._self_signed_due()
        else:
            due = False
        if not due and (config, _dates(pairs, config)) == self._seen:
            return False
        try:
            self.load()
        except ConfigError as error:
            log.error("certificates not reloaded: %s", error)
            return False
        log.info("certificates reloaded")
        return True

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _choose(self, tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """SNI (RFC 6066 section 3): an unknown name gets the default certificate, the client decides."""
        _switch(tls, name, context, self._contexts)

    def _choose_login(self, tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        # None of them serves any more when the setting has gone during a handshake: the connection keeps what it has.
        _switch(tls, name, context, self._login_contexts)

    def _lookup(self, name: str) -> ServerContext:
        return _named(name, self._contexts) or self._contexts[""]

    def _new_client_context(self, verify: bool) -> ssl.SSLContext:
        config = self._config()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = _version(config.minimum)
        if verify:
            context.load_default_certs()
            if config.trust is not None:
                context.load_verify_locations(config.trust)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _self_signed_due(self) -> bool:
        _, certificate, key = self._self_signed
        try:
            fact = read_pem(certificate.read_text())
        except (OSError, CertificateError):
            return True
        now = self._now()
        old = now >= CLOCK_SET_AT and fact.not_after_at - now < RENEW_BEFORE_S
        return old or not key.exists() or not fact.covers(self._hostname())

    def _ensure_self_signed(self) -> None:
        if not self._self_signed_due():
            return
        names = list(dict.fromkeys((self._hostname().lower(), "localhost", "127.0.0.1", "::1")))
        command = (sys.executable, "-m", "appliance.selfsigned", str(self._folder), *names)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._cannot_make(str(error)) from error
        if done.returncode:
            raise self._cannot_make(done.stderr.strip().rpartition("\n")[2])
        log.info("made a self-signed certificate for %s", names[0])

    def _cannot_make(self, why: str) -> ConfigError:
        text = f"cannot make a self-signed certificate in {self._folder}: {why}."
        return ConfigError(
            [Problem("tls.certificate", text, "Let palomar write there, or name a certificate and key.")]
        )


def _switch(
    tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext, contexts: Mapping[str, ServerContext]
) -> None:
    if not name:
        return
    if isinstance(tls, NamedObject):
        tls.sni = name
    chosen = _named(name, contexts) or contexts.get("")
    if chosen is not None and chosen is not context:
        tls.context = chosen


def _named(name: str, contexts: Mapping[str, ServerContext]) -> ServerContext | None:
    name = name.lower().rstrip(".")
    return contexts.get(name) or contexts.get(f"*.{name.partition('.')[2]}")


def _ask_for_certificates(context: ServerContext, authorities: Path) -> None:
    """Have clients asked for a certificate, and those refused that show a bad one. Raises OSError, ssl.SSLError."""
    context.load_verify_locations(authorities)
    context.verify_mode = ssl.CERT_OPTIONAL
    # The file may hold a device's own certificate instead of an authority's: then that one is the anchor.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    # A ticket would let in for hours whose certificate has ended or was revoked meanwhile.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def problems(config: TlsConfig) -> list[Problem]:
    """Everything wrong with the files that the settings name, for `palomar check`. Makes nothing."""
    found = _trust_problems(config)
    for place, certificate, key in _pairs(config).values():
        try:
            _server_context(certificate, key, place, config.minimum)
        except ConfigError as error:
            found += error.problems
    return found


def _pairs(config: TlsConfig) -> dict[str, Pair]:
    """The configured pairs by server name; "" is the default."""
    pairs = {
        name.lower().rstrip("."): (dotted("tls", "names", name), pair.certificate, pair.key)
        for name, pair in config.names.items()
        if pair.certificate != Path() and pair.key != Path()
    }
    if config.certificate is not None and config.key is not None:
        pairs[""] = ("tls", config.certificate, config.key)
    return pairs


def _dates(pairs: Mapping[str, Pair], config: TlsConfig) -> dict[Path, tuple[int, int, int]]:
    """What tells a changed file: inode (renamed over), size, modification time. A missing file has none."""
    dates = {}
    named = [path for path in (config.trust, config.client_ca) if path is not None]
    for path in [path for _, *files in pairs.values() for path in files] + named:
        with contextlib.suppress(OSError):
            found = os.stat(path)
            dates[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return dates


def _server_context(certificate: Path, key: Path, place: str, minimum: str) -> tuple[ServerContext, Certificate]:
    """Make the context of one pair. Raises ConfigError that names the files at fault."""
    problems = []
    try:
        fact = read_pem(certificate.read_text())
    except (OSError, UnicodeDecodeError, CertificateError) as error:
        problems.append(_unreadable(f"{place}.certificate", certificate, error))
    try:
        with key.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        problems.append(_unreadable(f"{place}.key", key, error))
    if problems:
        raise ConfigError(problems)
    if mode & 0o007:
        log.warning("every user of this machine can read the key %s; set its mode to 0600 or 0640", key)
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = NamedObject
    context.minimum_version = _version(minimum)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.binding = fact.binding
    asked = []

    def password() -> str:  # without it OpenSSL would ask on the terminal
        asked.append(True)
        return "-"

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if asked:
            text, remedy = f"{key} is protected by a password.", "Store it without one: openssl pkey -in … -out …"
        elif "MISMATCH" in (error.reason or ""):
            text, remedy = f"{key} does not belong to {certificate}.", "Name the key that the certificate was made for."
        else:
            text, remedy = f"{key} is no private key in PEM form.", "It must hold a line -----BEGIN PRIVATE KEY-----."
        raise ConfigError([Problem(f"{place}.key", text, remedy)]) from error
    return context, fact


def _unreadable(place: str, path: Path, error: Exception) -> Problem:
    if isinstance(error, OSError):
        remedy = "Let the user that runs palomar read it." if isinstance(error, PermissionError) else "Name a file."
        return Problem(place, f"cannot read {path}: {error.strerror}.", remedy)
    return Problem(place, f"{path}: {error}.", "It must hold the certificate and its issuers as PEM.")


def _trust_problems(config: TlsConfig) -> list[Problem]:
    found = []
    for name, path in (("tls.trust", config.trust), ("tls.client_ca", config.client_ca)):
        if path is None:
            continue
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(path)
            words = "" if context.cert_store_stats()["x509"] else "it holds no certificate"
        except (ssl.SSLError, OSError) as error:
            words = str(error.strerror or error)
        if words:
            text = f"cannot read authorities from {path}: {words}."
            found.append(Problem(name, text, "Name a PEM file with at least one certificate."))
    return found


def _version(minimum: str) -> ssl.TLSVersion:
    return ssl.TLSVersion.TLSv1_3 if minimum == "1.3" else ssl.TLSVersion.TLSv1_2
