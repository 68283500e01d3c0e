"""Other domains on loopback: exchangers, policy hosts, and a zone whose answers can be signed, bogus or neither."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, cast

import trustme

from appliance.config import CoreConfig, Settings
from appliance.core import Core
from appliance.dispatch import Dispatch
from appliance.dns import Answer, DnsConfig, Resolver, TemporaryDnsError
from appliance.dnssource import ZoneFile
from appliance.loading import load, register
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.store.soft import SoftStore
from plugins import tlspolicy
from plugins.relay.config import RelayConfig
from plugins.relay.transport import RelayTransport
from plugins.tlspolicy.config import TlspolicyConfig
from plugins.tlspolicy.policies import Policies
from tests.appliance.smtpclient.fake_core import FakeCertificates
from tests.appliance.smtpclient.fake_server import FULL, Authority, FakeServer, Script, always, running

MESSAGE = Message.parse(b"Subject: hello\r\n\r\nbody\r\n")
STARTTLS = (*FULL, "STARTTLS")
AUTHORITY = Authority()
ISSUER = AUTHORITY.ca.create_child_ca()
STRANGER = trustme.CA()
NOW = 1_800_000_000.0
POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mx.b.test\r\nmax_age: 604800\r\n"
ZONE = """
b.test. MX 10 mx.b.test.
mx.b.test. A 127.0.0.1
mta-sts.b.test. A 127.0.0.1
c.test. MX 10 mx.b.test.
"""
STS = '_mta-sts.b.test. TXT "v=STSv1; id=1"\n'
REPORTS = '_smtp._tls.b.test. TXT "v=TLSRPTv1; rua=mailto:tls@reports.test"\n'


@dataclass
class Host:
    """A certificate and the TLS of who shows it."""

    cert: trustme.LeafCert
    context: ssl.SSLContext

    @property
    def chain(self) -> list[bytes]:
        return [ssl.PEM_cert_to_DER_cert(pem.bytes().decode()) for pem in self.cert.cert_chain_pems]


def host(name: str = "mx.b.test", *, ca: trustme.CA = ISSUER, **facts: Any) -> Host:
    cert = ca.issue_cert(name, **facts)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert.configure_cert(context)
    return Host(cert, context)


class SignedZone:
    """A zone file in which everything is signed but what is named here."""

    def __init__(self, path: Path) -> None:
        self._zone = ZoneFile(path)
        self.validates = True
        self.unsigned: set[str] = set()
        self.bogus: set[tuple[str, str]] = set()  # name and type
        self.asked: list[tuple[str, str]] = []

    async def ask(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        if (name, rdtype) in self.bogus:
            raise TemporaryDnsError(f"{name} {rdtype}: SERVFAIL")
        answer = await self._zone.ask(name, rdtype)
        return replace(answer, authentic=self.validates and name not in self.unsigned)


@dataclass
class PolicyHost:
    """A server that answers every HTTPS request with the same octets, and remembers the requests."""

    answer: bytes = b""
    requests: list[bytes] = field(default_factory=list)

    def policy(self, text: str = POLICY, *, status: str = "200 OK", kind: str = "text/plain", more: str = "") -> None:
        body = text.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        self.answer = head.encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            self.requests.append(head + await reader.readexactly(length))
            writer.write(self.answer)
            await writer.drain()
        writer.close()


class Intake:
    """Takes what is submitted."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Message, Address | None, list[Recipient], Envelope]] = []

    async def submit(
        self, message: Message, sender: Address | None, recipients: list[Recipient], *, origin: str, envelope: Envelope
    ) -> Any:
        self.submitted.append((message, sender, recipients, envelope))
        return cast(Any, type("Submitted", (), {"refused": ()}))


class World:
    def __init__(self, folder: Path, zone: str, stack: AsyncExitStack, **settings: Any) -> None:
        file = folder / "zone"
        file.write_text(f"$ORIGIN .\n$TTL 60\n{zone}\n")
        self.folder, self.stack = folder, stack
        self.zone = SignedZone(file)
        self.resolver: Resolver | None = None  # one that asks real servers
        self.servers: list[FakeServer] = []
        self.plugins: list[tuple[str, Any]] = []  # besides the role
        self.time = NOW
        self.intake = Intake()
        self.https = PolicyHost()
        self.settings = settings
        self.port = self.https_port = 1
        self.core: Core = cast(Any, None)
        self.policies: Policies = cast(Any, None)
        self.relay: RelayTransport = cast(Any, None)

    async def serve(
        self, tls: ssl.SSLContext | None, ip: str = "127.0.0.1", *, script: Script | None = None, **facts: Any
    ) -> FakeServer:
        """An exchanger; without `tls` it offers none."""
        extensions = facts.pop("extensions", STARTTLS if tls is not None else FULL)
        port = 0 if self.port == 1 else self.port
        server = FakeServer(extensions, script or always(), tls=tls, port=port, **facts)
        await self.stack.enter_async_context(running(server, ip))
        self.port = server.port
        self.servers.append(server)
        return server

    async def serve_policy(self, name: str = "mta-sts.b.test", *, ca: trustme.CA | None = None) -> PolicyHost:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        (ca or AUTHORITY.ca).issue_cert(name).configure_cert(context)
        server = await asyncio.start_server(self.https.serve, "127.0.0.1", 0, ssl=context)
        self.stack.callback(server.close)
        self.https_port = server.sockets[0].getsockname()[1]
        self.https.policy()
        return self.https

    async def start(self) -> Policies:
        """Make the appliance's side anew, as after a restart; what is in soft.db stays."""
        await self.stop()
        manager, _ = load([])
        for name, plugin in (*self.plugins, ("tlspolicy", tlspolicy)):
            register(manager, name, plugin)
        soft = SoftStore(self.folder / "soft.db")
        self.core = Core(
            settings=Settings.of(
                CoreConfig(hostname="mail.me.test", domains=("me.test",)),
                RelayConfig(port=self.port, families="ipv4"),
                TlspolicyConfig(**{"https_port": self.https_port, "fetch_timeout": 50, **self.settings}),
            ),
            store=cast(Any, type("Store", (), {"soft": soft})),
            dispatch=Dispatch(manager),
            resolver=self.resolver or Resolver(DnsConfig(), source=self.zone),
            certificates=cast(Any, FakeCertificates(AUTHORITY)),
            intake=cast(Any, self.intake),
            now=lambda: self.time,
            **dict.fromkeys(("auth", "trace", "queue"), cast(Any, None)),
        )
        self.core.dispatch.attach(self.core)
        ((_, self.policies),) = self.core.dispatch.gather("services", core=self.core)
        self.relay = RelayTransport(self.core, random=Random(1))
        return self.policies

    async def stop(self) -> None:
        if self.relay is not None:
            await self.relay.close()
            await self.policies.write()
            await self.core.store.soft.close()
            self.relay = cast(Any, None)

    async def send(self, domain: str = "b.test", policy: str = "", **flags: bool) -> Outcome:
        """One message over a new connection."""
        if self.relay is None:
            await self.start()
        envelope = Envelope(Address("ana", "me.test"), **flags)
        to = [Recipient(Address("a", domain))]
        (outcome,) = await self.relay.deliver(envelope, to, MESSAGE, Route("relay", domain, policy))
        await self.relay.close()
        return outcome

    def counted(self, domain: str = "b.test") -> dict[str, int]:
        """Sessions of today by policy type and result."""
        found: dict[str, int] = {}
        self.time += 86_400
        for (_, name), tally in self.policies.tallies.due():
            for one in tally.counted.values() if name == domain else ():
                if one.successes:
                    found[f"{one.policy.type} good"] = one.successes
                for failure, count in one.failures.items():
                    key = f"{one.policy.type} {failure.result}"
                    found[key] = found.get(key, 0) + count
        self.time -= 86_400
        return found


@asynccontextmanager
async def world(folder: Path, zone: str = ZONE, **settings: Any) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        made = World(folder, zone, stack, **settings)
        stack.push_async_callback(made.stop)
        yield made
