"""Transport "smarthost": by a host that sends on for us, with AUTH and TLS; and by its fallbacks."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from random import Random

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dns import DnsError, NoSuchDomainError
from appliance.https import Answer, Request, ask
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.pinning import PinnedContexts, Terms, pinned
from appliance.smtpclient import Contexts, Hop, HopError, Login, SmtpClient, SmtpPool, TlsPolicy, outcomes_of, reach
from appliance.smtpclient.demand import demands_tls, no_secured_way
from appliance.tls import TlsConfig
from plugins.smarthost.balance import Resting, in_order
from plugins.smarthost.config import SmartHost, SmarthostConfig
from plugins.smarthost.tokens import TokenError, Tokens


class SmarthostTransport:
    """Delivers by the smart host that a route names as its next hop."""

    name = "smarthost"

    def __init__(self, core: Core, *, random: Random | None = None) -> None:
        """`random` draws the hosts of a group."""
        self._core = core
        self._pool = SmtpPool()
        self._made = PinnedContexts()
        self._chains: dict[str, list[list[SmartHost]]] = {}  # by the name of a host, made of these settings:
        self._chained: SmarthostConfig | None = None
        self._resting = Resting()
        self._random = random or Random()  # noqa: S311 - spreads load, guards nothing
        self._tokens = Tokens(self._ask, time.monotonic)

    def deliveries(self, route: Route) -> int:
        """How many deliveries may go to one host, or to all of its group, at once."""
        chain = self._chain(route.next_hop)
        return sum(host.deliveries for host in chain[0]) if chain else 1

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        """See `hookspecs.Transport.deliver`."""
        chain = self._chain(route.next_hop)
        try:
            if not chain:
                raise _refused(route.next_hop, "4.3.5", f"[smarthost] has no host {route.next_hop!r} any more")
            demand = demands_tls(envelope)
            hosts = in_order(chain, self._resting.rests, self._random)
            key = (tuple(hosts), demand)
            return await self._pool.deliver(key, lambda: self._clients(hosts, demand), envelope, recipients, message)
        except HopError as error:
            return outcomes_of(error, recipients)

    def _chain(self, name: str) -> list[list[SmartHost]]:
        settings = self._core.settings[SmarthostConfig]
        if settings is not self._chained:
            self._chained = settings
            self._chains.clear()
        found = self._chains.get(name)
        if found is None:
            found = self._chains[name] = settings.chain(name)
        return found

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._pool.close()

    async def _clients(self, hosts: Sequence[SmartHost], demand: bool) -> AsyncGenerator[SmtpClient, None]:
        """Connections to the hosts, one after the other. Raises HopError at the end."""
        failures: dict[str, HopError] = {}
        for host in hosts:
            try:
                addresses = await self._addresses(host)
                hop = replace(self._hop(host, demand), login=await self._login(host))
                async with aclosing(reach(hop, addresses, self._contexts(host))) as clients:
                    async for client in clients:
                        self._resting.answered(host.label)
                        yield client
            except HopError as error:
                self._resting.failed(host.label)
                if host.oauth and error.reply.enhanced == "4.7.8":
                    self._tokens.refused(host.oauth)
                failures[host.label] = error
        if failures and demand:
            raise no_secured_way(list(failures.values()))
        if failures:
            # Whoever reads this wants to know of the host that should have done it, though it was asked last.
            listed = [host.label for host in self._core.settings[SmarthostConfig].hosts]
            raise min(failures.items(), key=lambda one: listed.index(one[0]) if one[0] in listed else 0)[1]

    async def _addresses(self, host: SmartHost) -> list[str]:
        """Where the host is. A name that is not there is our mistake or a passing one, so mail waits."""
        try:
            addresses = await self._core.resolver.addresses(host.host)
        except NoSuchDomainError as error:
            raise _refused(host.label, "4.4.4", f"there is no host {host.host}") from error
        except DnsError as error:
            raise _refused(host.label, "4.4.3", f"addresses of {host.host}: {error}") from error
        if not addresses:
            raise _refused(host.label, "4.4.4", f"{host.host} has no address")
        return addresses

    def _hop(self, host: SmartHost, demand: bool) -> Hop:
        """The terms for a host. `demand`: the message goes by secured ways or not at all (RFC 8689)."""
        settings = self._core.settings
        verified = demand or host.fingerprints or (host.tls == "required" and host.verify)
        policy: TlsPolicy = "verified" if verified else host.tls
        return Hop(
            host=host.host,
            port=host.port,
            own_name=host.own_name or settings[SmarthostConfig].own_name or settings[CoreConfig].hostname,
            tls=policy,
            implicit_tls=host.speaks_tls_first,
            proven=True,  # an administrator wrote it down
            require_tls=demand,
            check=pinned(host.fingerprints) if host.fingerprints else None,
            local_addresses=host.source_addresses,
            xforward=host.xforward,
        )

    async def _login(self, host: SmartHost) -> Login | None:
        """What logs in: a password, an access token, our certificate, or nothing. Raises HopError."""
        if host.oauth:
            client = self._core.settings[SmarthostConfig].oauth.get(host.oauth)
            if client is None:
                raise _refused(host.label, "4.3.5", f"there is no [smarthost.oauth.{host.oauth}] any more")
            try:
                return Login(host.username, token=await self._tokens.token(host.oauth, client))
            except TokenError as error:
                raise _refused(host.label, "4.7.0", f"no access token for {host.label}: {error}") from error
        if host.username:
            return Login(host.username, self._password(host))
        return Login() if host.certificate is not None else None

    async def _ask(self, request: Request) -> Answer:
        return await ask(request, self._core.resolver, self._core.certificates.client_context(True))

    def _password(self, host: SmartHost) -> str:
        """The password; a file is read anew for every connection, so that it can be changed without a restart."""
        if host.password_file is None:
            return host.password
        try:
            password = host.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise _refused(host.label, "4.3.5", f"password_file of {host.label}: {error}") from error
        if not password:
            raise _refused(host.label, "4.3.5", f"password_file of {host.label}: its first line is empty")
        return password

    def _contexts(self, host: SmartHost) -> Contexts:
        """TLS contexts for the host: the appliance's own, or those that `ca_file` and `certificate` make."""
        if host.ca_file is None and host.certificate is None:
            return self._core.certificates.client_context
        trust = self._core.settings[TlsConfig].trust if host.ca_file is None else None

        def context(verify: bool) -> ssl.SSLContext:
            try:
                terms = Terms(host.ca_file, host.certificate, host.key, trust, verify=verify)
                return self._made.context(terms)
            except (OSError, ssl.SSLError) as error:
                files = "ca_file" if host.certificate is None else "ca_file, certificate or key"
                raise _refused(host.label, "4.3.5", f"{files} of {host.label}: {error}") from error

        return context


def _refused(peer: str, enhanced: str, text: str) -> HopError:
    return HopError(Reply(451, enhanced, text), peer=peer)
