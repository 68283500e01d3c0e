"""Transport "smarthost": by a host that sends on for us, with AUTH and TLS; and by its fallbacks."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dns import DnsError, NoSuchDomainError
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.smtpclient import Contexts, Hop, HopError, Login, SmtpClient, SmtpPool, TlsPolicy, outcomes_of, reach
from appliance.smtpclient.demand import demands_tls, no_secured_way
from plugins.smarthost.config import SmartHost, SmarthostConfig


class SmarthostTransport:
    """Delivers by the smart host that a route names as its next hop."""

    name = "smarthost"

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pool = SmtpPool()
        self._pinned: dict[tuple[Path, int, bool], ssl.SSLContext] = {}

    def deliveries(self, route: Route) -> int:
        """How many deliveries may go to one host at once."""
        host = self._core.settings[SmarthostConfig].named(route.next_hop)
        return host.deliveries if host is not None else 1

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        """See `hookspecs.Transport.deliver`."""
        chain = self._core.settings[SmarthostConfig].chain(route.next_hop)
        try:
            if not chain:
                raise _refused(route.next_hop, "4.3.5", f"[smarthost] has no host {route.next_hop!r} any more")
            demand = demands_tls(envelope)
            key = (tuple(chain), demand)
            return await self._pool.deliver(key, lambda: self._clients(chain, demand), envelope, recipients, message)
        except HopError as error:
            return outcomes_of(error, recipients)

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._pool.close()

    async def _clients(self, chain: Sequence[SmartHost], demand: bool) -> AsyncGenerator[SmtpClient, None]:
        """Connections to the hosts of a chain, one after the other. Raises HopError at the end."""
        failures: list[HopError] = []
        for host in chain:
            try:
                addresses = await self._addresses(host)
                async with aclosing(reach(self._hop(host, demand), addresses, self._contexts(host))) as clients:
                    async for client in clients:
                        yield client
            except HopError as error:
                failures.append(error)
        if failures and demand:
            raise no_secured_way(failures)
        if failures:
            raise failures[0]  # the host that should have done it matters most to whoever reads this

    async def _addresses(self, host: SmartHost) -> list[str]:
        """Where the host is. A name that is not there is our mistake or a passing one, so mail waits."""
        try:
            addresses = await self._core.resolver.addresses(host.host)
        except NoSuchDomainError as error:
            raise _refused(host.key, "4.4.4", f"there is no host {host.host}") from error
        except DnsError as error:
            raise _refused(host.key, "4.4.3", f"addresses of {host.host}: {error}") from error
        if not addresses:
            raise _refused(host.key, "4.4.4", f"{host.host} has no address")
        return addresses

    def _hop(self, host: SmartHost, demand: bool) -> Hop:
        """The terms for a host. `demand`: the message goes by secured ways or not at all (RFC 8689)."""
        settings = self._core.settings
        policy: TlsPolicy = "verified" if demand or (host.tls == "required" and host.verify) else host.tls
        return Hop(
            host=host.host,
            port=host.port,
            own_name=settings[SmarthostConfig].own_name or settings[CoreConfig].hostname,
            tls=policy,
            implicit_tls=host.speaks_tls_first,
            proven=True,  # an administrator wrote it down
            require_tls=demand,
            login=Login(host.username, self._password(host)) if host.username else None,
        )

    def _password(self, host: SmartHost) -> str:
        """The password; a file is read anew for every connection, so that it can be changed without a restart."""
        if host.password_file is None:
            return host.password
        try:
            password = host.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise _refused(host.key, "4.3.5", f"password_file of {host.key}: {error}") from error
        if not password:
            raise _refused(host.key, "4.3.5", f"password_file of {host.key}: its first line is empty")
        return password

    def _contexts(self, host: SmartHost) -> Contexts:
        """TLS contexts for the host: the appliance's own, or one that trusts only `ca_file`."""
        ca_file = host.ca_file
        if ca_file is None:
            return self._core.certificates.client_context

        def pinned(verify: bool) -> ssl.SSLContext:
            try:
                key = (ca_file, ca_file.stat().st_mtime_ns, verify)
                if key not in self._pinned:
                    self._pinned.clear()  # a changed file: nothing of the old one is wanted
                    self._pinned[key] = _pinned_context(ca_file, verify=verify)
            except (OSError, ssl.SSLError) as error:
                raise _refused(host.key, "4.3.5", f"ca_file of {host.key}: {error}") from error
            return self._pinned[key]

        return pinned


def _pinned_context(ca_file: Path, *, verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    # The file may hold the host's own certificate instead of an authority's: then that one is the anchor.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refused(peer: str, enhanced: str, text: str) -> HopError:
    return HopError(Reply(451, enhanced, text), peer=peer)
