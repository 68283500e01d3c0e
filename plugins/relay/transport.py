"""Transport "relay": to the mail exchangers of the recipient's domain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from random import Random
from typing import Literal, get_args

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dispatch import HookFailedError
from appliance.dns import MxHost, NoSuchDomainError, NullMxError, TemporaryDnsError
from appliance.hookspecs import Protection
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.smtpclient import (
    Contexts,
    DeadHosts,
    Hop,
    HopError,
    SmtpClient,
    SmtpPool,
    Timeouts,
    TlsPolicy,
    outcomes_of,
    reach,
)
from appliance.smtpclient.demand import demands_tls, no_secured_way
from plugins.relay.config import Identity, RelayConfig
from plugins.relay.exchangers import in_order, interleaved, named_host, same_host

Wish = Literal["", "require", "waive"]
"""What the message's sender asks for: nothing, REQUIRETLS, or that its arriving comes first ("TLS-Required: No")."""

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
        self._dead: DeadHosts | None = DeadHosts()  # by all domains whose mail such a host takes
        self._pool = SmtpPool(idle_s=config.idle_seconds, max_messages=config.messages_per_connection)

    def deliveries(self, route: Route) -> int:
        """How many deliveries may go to one domain at once."""
        return self._core.settings[RelayConfig].deliveries_per_destination

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        """See `hookspecs.Transport.deliver`."""
        policy = self._policy(route)
        wish: Wish = "require" if demands_tls(envelope) else "waive" if envelope.tls_optional else ""
        identity = self._identity(envelope, recipients)
        key = (route.next_hop, policy, wish, identity)
        try:
            return await self._pool.deliver(
                key, lambda: self._clients(route.next_hop, policy, wish, identity), envelope, recipients, message
            )
        except HopError as error:
            return outcomes_of(error, recipients)

    async def call_out(self, recipient: Recipient, route: Route) -> Reply:
        """What the route's hosts say to RCPT for a recipient. Raises HopError."""
        async with aclosing(self._clients(route.next_hop, self._policy(route))) as clients:
            async for client in clients:
                try:
                    return await client.call_out(recipient)
                finally:
                    await client.quit()
        raise HopError(Reply(451, "4.4.1", "no host answered"), peer="")

    def forgive(self) -> None:
        """Let hosts that did not answer be tried at once."""
        if self._dead is not None:
            self._dead.forgive()

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._pool.close()

    def _identity(self, envelope: Envelope, recipients: Sequence[Recipient]) -> Identity | None:
        identities = self._core.settings[RelayConfig].identities
        if not identities:
            return None
        to = [recipient.address for recipient in recipients]
        return next((one for one in identities if one.takes(envelope.sender, to)), None)

    def _policy(self, route: Route) -> TlsPolicy:
        config = self._core.settings[RelayConfig]
        for policy in get_args(TlsPolicy):
            if route.policy == policy:
                return policy  # type: ignore[no-any-return]
        return config.tls_by_domain.get(route.next_hop, config.tls)

    async def _clients(
        self, domain: str, policy: TlsPolicy, wish: Wish = "", identity: Identity | None = None
    ) -> AsyncGenerator[SmtpClient, None]:
        """Connections to the domain's exchangers, best first. Raises HopError when there is none to try any more."""
        failures: list[HopError] = []
        addressed = False
        hosts, protection = await self._known(domain, policy, wish)
        for host in hosts[: self._core.settings[RelayConfig].max_exchangers]:
            try:
                addresses = await self._addresses(host)
                if not addresses:
                    continue
                addressed = True
                own = self._hop(host, policy, wish, named=domain.startswith("["))
                if port := named_host(domain)[1]:
                    own = replace(own, port=port)
                hop = await self._terms(_as(identity, own), host, protection)
                async with aclosing(
                    reach(hop, addresses, self._contexts, observer=protection, dead=self._dead)
                ) as clients:
                    async for client in clients:
                        self._refuse_own(client, domain)
                        yield client
            except HopError as error:
                if error.reply.permanent:
                    raise
                failures.append(error)
        if failures:
            raise no_secured_way(failures) if wish == "require" else failures[-1]
        if not addressed and domain.startswith("["):
            # Named by an administrator, who may put it right: no reason to give mail back.
            raise HopError(Reply(451, "4.4.4", f"the host {domain} has no address"), peer="")
        if not addressed:
            raise HopError(Reply(550, "5.4.4", f"no mail exchanger of {domain} has an address"), peer="")

    async def _known(self, domain: str, policy: TlsPolicy, wish: Wish) -> tuple[list[MxHost], Protection | None]:
        """The domain's exchangers and what protects it, asked side by side. Raises HopError."""
        asked = asyncio.create_task(self._protection(domain, policy, wish))
        try:
            hosts = await self._exchangers(domain)
            return hosts, await asked
        finally:
            asked.cancel()
            asked.add_done_callback(lambda task: task.cancelled() or task.exception())  # told where it matters

    async def _addresses(self, host: MxHost) -> list[str]:
        """Where an exchanger is, in the order to try; empty where it is nowhere. Raises HopError."""
        try:
            found = await self._core.resolver.addresses(host.name, _FAMILIES[self._core.settings[RelayConfig].families])
        except NoSuchDomainError:
            return []
        except TemporaryDnsError as error:
            raise HopError(Reply(451, "4.4.3", f"addresses of {host.name}: {error}"), peer="") from error
        return interleaved(found)

    async def _terms(self, hop: Hop, host: MxHost, protection: Protection | None) -> Hop:
        """The final terms for a host. Raises HopError when it must not be used."""
        if protection is not None:
            hop = await protection.harden(host, hop)
        if hop.require_tls and not hop.proven:
            raise HopError(_unproven(host.name), peer="", lacking=True)
        return hop

    async def _exchangers(self, domain: str) -> list[MxHost]:
        """The hosts to try. Raises HopError: permanent for a domain that takes no mail, that is not there, or is us."""
        if domain.startswith("["):
            return [MxHost(0, named_host(domain)[0])]
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

    async def _protection(self, domain: str, policy: TlsPolicy, wish: Wish) -> Protection | None:
        """What plugins know about the domain's TLS. Raises HopError: without their word nothing goes out."""
        if policy == "off" or wish == "waive" or domain.startswith("["):
            return None
        try:
            return await self._core.dispatch.protect_domain(domain=domain)
        except HookFailedError as error:
            raise HopError(error.reply, peer="") from error

    def _hop(self, host: MxHost, policy: TlsPolicy, wish: Wish, *, named: bool) -> Hop:
        """Our own terms for a host. `named`: an administrator wrote it down, so there is nothing to prove about it."""
        config = self._core.settings[RelayConfig]
        required = wish == "require"
        return Hop(
            host=host.name,
            port=config.port,
            own_name=config.own_name or self._core.settings[CoreConfig].hostname,
            tls="verified" if required else policy,
            require_tls=required,
            proven=named or host.authentic,
            local_addresses=config.source_addresses,
            timeouts=Timeouts(connect=config.connect_timeout),
        )

    @property
    def _contexts(self) -> Contexts:
        return self._core.certificates.client_context


def _as(identity: Identity | None, hop: Hop) -> Hop:
    """The terms under another name and from other addresses of ours."""
    if identity is None:
        return hop
    name, addresses = identity.own_name or hop.own_name, identity.source_addresses or hop.local_addresses
    return replace(hop, own_name=name, local_addresses=addresses)


def _unproven(name: str) -> Reply:
    text = f"the message requires TLS, and neither DNSSEC nor MTA-STS proves that {name} is to be asked"
    return Reply(451, "4.7.30", text)


def _loop(domain: str) -> Reply:
    return Reply(554, "5.4.6", f"mail for {domain} loops back to this host")
