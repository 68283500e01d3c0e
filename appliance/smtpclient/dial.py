"""From a hop and its addresses to a connection that is ready for MAIL.

Addresses are tried in their order, each with a small head start over the next, so that a dead one costs a moment and
not a time-out (the idea of RFC 8305, "Happy Eyeballs").
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from appliance.connection import ConnectError, Connection, connect
from appliance.mail.reply import Reply
from appliance.smtpclient.client import SmtpClient, peer_text, tls_name
from appliance.smtpclient.deadhosts import DeadHosts
from appliance.smtpclient.hop import Contexts, Hop, HopError, Observer
from appliance.tlslink import TlsError
from appliance.wire.smtp_client import ClientMachine

STAGGER_S = 0.5  # head start of an address over the next; RFC 8305 section 5 allows 0.1 to 2 s
MAX_ADDRESSES = 5  # tried of one hop in one attempt

_Dialled = tuple[Connection, ClientMachine]


async def reach(
    hop: Hop,
    addresses: Sequence[str],
    contexts: Contexts,
    *,
    stagger_s: float = STAGGER_S,
    observer: Observer | None = None,
    dead: DeadHosts | None = None,
) -> AsyncGenerator[SmtpClient, None]:
    """Yield a client ready for MAIL; asked again, one by the next address. Raises HopError when the last one failed.

    With `dead`, addresses that are known not to answer are passed over.
    """
    left = deque(addresses[:MAX_ADDRESSES])
    while left:
        try:
            client = await _ready(hop, left, contexts, stagger_s, observer, dead)
        except HopError:
            if not left:
                raise
            continue
        yield client


async def _ready(
    hop: Hop,
    left: deque[str],
    contexts: Contexts,
    stagger_s: float,
    observer: Observer | None,
    dead: DeadHosts | None,
) -> SmtpClient:
    """Connect to one of the addresses, taking those that were tried from `left`, and greet it."""
    address, dialled = await _race(hop, left, contexts, stagger_s, dead)
    while True:
        client = SmtpClient(*dialled, hop)
        started_at = client.opened_at
        try:
            await client.greet(contexts)
            if dead is not None:
                dead.answered(address, hop.port)
            if observer is not None:
                observer.connected(client)
            return client
        except HopError as error:
            client.abort()
            if dead is not None and not client.greeted:
                dead.failed(address, hop.port, started_at, client.connection.loop.time(), error.reply.text)
            elif dead is not None:
                dead.answered(address, hop.port)
            if observer is not None:
                observer.failed(client, error)
            weaker = _weaker(hop, error)
            if weaker is None:
                raise
        hop = weaker
        dialled = await _dial(hop, address, contexts, None)


def _weaker(hop: Hop, error: HopError) -> Hop | None:
    """The terms on which the same host may be tried once more, at once; None if there are none."""
    if hop.otherwise is not None and error.tls_failure:
        return replace(hop, tls=hop.otherwise, otherwise=None, check=None)
    # Opportunistic TLS protects where it can; a host whose TLS is broken still gets its mail (RFC 7435).
    return replace(hop, tls="off") if hop.tls == "opportunistic" and error.in_tls else None


async def _race(
    hop: Hop, left: deque[str], contexts: Contexts, stagger_s: float, dead: DeadHosts | None
) -> tuple[str, _Dialled]:
    """The first address that connects. Raises the last HopError when none does."""
    if len(left) == 1:
        address = left.popleft()
        return address, await _dial(hop, address, contexts, dead)
    running: dict[asyncio.Task[_Dialled], str] = {}
    failure: HopError | None = None
    try:
        while left or running:
            if left:
                address = left.popleft()
                running[asyncio.create_task(_dial(hop, address, contexts, dead))] = address
            timeout = stagger_s if left else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    return running.pop(task), task.result()
                del running[task]
                if not isinstance(error, HopError):
                    raise error
                failure = error
        assert failure is not None
        raise failure
    finally:
        left.extendleft(reversed(await _call_off(running)))


async def _call_off(running: dict[asyncio.Task[_Dialled], str]) -> list[str]:
    """Stop the attempts that lost the race. Returns their addresses: they were not found wanting."""
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    for task in running:
        if not task.cancelled() and task.exception() is None:
            task.result()[0].abort()
    return list(running.values())


async def _dial(hop: Hop, address: str, contexts: Contexts, dead: DeadHosts | None) -> _Dialled:
    """One TCP connection, with TLS at once where the hop wants that. Raises HopError."""
    machine = ClientMachine(lmtp=hop.lmtp)
    peer = peer_text(hop.host, address, hop.port)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    if dead is not None and (why := dead.why_not(address, hop.port, started_at)):
        raise HopError(Reply(451, "4.4.1", f"not asked again so soon: {why}"), peer=peer)
    family = ":" in address
    try:
        connection = await connect(
            address,
            hop.port,
            machine,
            timeout=hop.timeouts.connect,
            local_addr=next((own for own in hop.local_addresses if (":" in own) == family), None),
            tls=contexts(hop.tls == "verified" and hop.check is None) if hop.implicit_tls else None,
            server_hostname=tls_name(hop),
        )
    except ConnectError as error:
        if dead is not None and not error.ours:
            dead.failed(address, hop.port, started_at, loop.time(), f"cannot connect: {error}")
        raise HopError(Reply(451, "4.4.1", f"cannot connect: {error}"), peer=peer) from error
    except TlsError as error:
        reply = Reply(451, "4.7.5", f"TLS could not be agreed: {error}")
        raise HopError(reply, peer=peer, in_tls=True, tls_failure=error.failure) from error
    return connection, machine
