"""Transport "relay": to the mail exchangers of the recipient's domain."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from random import Random
from typing import get_args

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dns import MxHost, NoSuchDomainError, NullMxError, TemporaryDnsError
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.smtpclient import Contexts, Hop, HopError, SmtpClient, SmtpPool, Timeouts, TlsPolicy, outcomes_of, reach
from plugins.relay.config import RelayConfig
from plugins.relay.exchangers import in_order, interleaved, same_host

_FAMILIES = {
    "both": (socket.AF_INET6, socket.AF_INET),
    "ipv4": (socket.AF_INET,),
    "ipv6": (socket.AF_INET6,),
}


class RelayTransport:
    """Delivers to the domain that a route names as its next hop. A route's policy, if any, is its TLS policy.

    Verdicts that are our own (DNS, loops) name no peer, so that reports do not put them into somebody's mouth.
    """

    name = "relay"

    def __init__(self, core: Core, *, random: Random | None = None) -> None:
        """`random` shuffles equal exchangers."""
        self._core = core
        self._random = random or Random()  # noqa: S311 - spreads load, guards nothing
        config = core.settings[RelayConfig]
        self._pool = SmtpPool(idle_s=config.idle_seconds, max_messages=config.messages_per_connection)

    def deliveries(self, route: Route) -> int:
        """How many deliveries may go to one domain at once."""
        return self._core.settings[RelayConfig].deliveries_per_destination

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        """See `hookspecs.Transport.deliver`."""
        policy = self._policy(route)
        key = (route.next_hop, policy)
        try:
            return await self._pool.deliver(
                key, lambda: self._clients(route.next_hop, policy), envelope, recipients, message
            )
        except HopError as error:
            return outcomes_of(error, recipients)

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._pool.close()

    def _policy(self, route: Route) -> TlsPolicy:
        config = self._core.settings[RelayConfig]
        for policy in get_args(TlsPolicy):
            if route.policy == policy:
                return policy  # type: ignore[no-any-return]
        return config.tls_by_domain.get(route.next_hop, config.tls)

    async def _clients(self, domain: str, policy: TlsPolicy) -> AsyncGenerator[SmtpClient, None]:
        """Connections to the domain's exchangers, best first. Raises HopError when there is none to try any more."""
        config = self._core.settings[RelayConfig]
        failure: HopError | None = None
        addressed = False
        for host in (await self._exchangers(domain))[: config.max_exchangers]:
            try:
                addresses = await self._core.resolver.addresses(host.name, _FAMILIES[config.families])
            except NoSuchDomainError:
                continue
            except TemporaryDnsError as error:
                failure = HopError(Reply(451, "4.4.3", f"addresses of {host.name}: {error}"), peer="")
                continue
            addressed = addressed or bool(addresses)
            try:
                async with aclosing(reach(self._hop(host, policy), interleaved(addresses), self._contexts)) as clients:
                    async for client in clients:
                        self._refuse_own(client, domain)
                        yield client
            except HopError as error:
                if error.reply.permanent:
                    raise
                failure = error
        if failure is not None:
            raise failure
        if not addressed and domain.startswith("["):
            # Named by an administrator, who may put it right: no reason to give mail back.
            raise HopError(Reply(451, "4.4.4", f"the host {domain} has no address"), peer="")
        if not addressed:
            raise HopError(Reply(550, "5.4.4", f"no mail exchanger of {domain} has an address"), peer="")

    async def _exchangers(self, domain: str) -> list[MxHost]:
        """The hosts to try. Raises HopError: permanent for a domain that takes no mail, that is not there, or is us."""
        if domain.startswith("["):
            return [MxHost(0, domain.strip("[]").removeprefix("IPv6:"))]
        try:
            hosts = await self._core.resolver.mx(domain)
        except NullMxError as error:
            raise HopError(Reply(556, "5.1.10", str(error)), peer="") from error
        except NoSuchDomainError as error:
            raise HopError(Reply(550, "5.1.2", f"there is no domain {domain}"), peer="") from error
        except TemporaryDnsError as error:
            raise HopError(Reply(451, "4.4.3", f"mail exchangers of {domain}: {error}"), peer="") from error
        ordered = in_order(hosts, self._core.settings[CoreConfig].hostname, self._random)
        if not ordered:
            raise HopError(_loop(domain), peer="")
        return ordered

    def _refuse_own(self, client: SmtpClient, domain: str) -> None:
        """Stop when the host at the other end is this one, under a name that DNS gave it. Raises HopError."""
        if same_host(client.machine.peer_name, client.hop.own_name):
            client.abort()
            raise HopError(_loop(domain), peer="")

    def _hop(self, host: MxHost, policy: TlsPolicy) -> Hop:
        config = self._core.settings[RelayConfig]
        return Hop(
            host=host.name,
            port=config.port,
            own_name=config.own_name or self._core.settings[CoreConfig].hostname,
            tls=policy,
            local_addresses=config.source_addresses,
            timeouts=Timeouts(connect=config.connect_timeout),
        )

    @property
    def _contexts(self) -> Contexts:
        return self._core.certificates.client_context


def _loop(domain: str) -> Reply:
    return Reply(554, "5.4.6", f"mail for {domain} loops back to this host")
