"""Where a protocol machine meets asyncio: one TCP or Unix-socket connection, server or client side.

A session is a plain coroutine: it asks `next_event`, works, `write`s. The connection feeds the machine, corks output
until the session has to wait, keeps one lazily moved timer for all deadlines, stops reading while an answer is owed,
and bounds a peer that does not read. It owns TLS, so that STARTTLS is a call and not a change of transport.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import itertools
import os
import secrets
import ssl
import struct
import termios
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from appliance.errors import ApplianceError, ProtocolError
from appliance.mail.session import Session, TlsInfo
from appliance.tlslink import TlsError, TlsLink
from appliance.wire.proxy import Proxied

CORK = 64 * 1024  # bytes written before they go out although the session has not come to wait
READ_AHEAD = 256 * 1024  # bytes fed to a machine that has not asked for more
TURN = 64  # events in a row after which other connections get their turn
WRITE_STALL_S = 120.0  # a peer that owes us a read must take at least WRITE_PROGRESS in this time
WRITE_PROGRESS = 4096
HANDSHAKE_S = 30.0
CLOSE_S = 10.0  # for the last bytes to leave
LINGER_S = 2.0  # for the peer to see our last words although it is still sending
LINGER_BYTES = 1024 * 1024


class ConnectionLostError(ApplianceError):
    """The peer has gone: closed, reset, or dropped by us because it read nothing for too long."""


class IdleTimeoutError(ApplianceError):
    """Nothing came within the time that `next_event` was given."""


class Machine(Protocol):
    """A protocol without I/O (h11's contract): bytes in, one event out at a time."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the wire."""

    def next_event(self) -> object | None:
        """Return the next event, or None when it first needs bytes or our answer. Raises ProtocolError."""

    def start_tls(self) -> None:
        """Forget what was said in clear. Raises ProtocolError if bytes are buffered (CVE-2011-0411)."""

    @property
    def closed(self) -> bool:
        """Whether the dialogue is over."""


class Wake:
    """The type of `WAKE`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "WAKE"


WAKE: Final = Wake()
"""The event that `next_event` returns after `wake()`: look around (new mail to tell of, a shutdown)."""

_run = secrets.token_hex(3)  # tells sessions of two runs apart in one log
_numbers = itertools.count(1)


class Connection(asyncio.Protocol):
    """One connection and the machine that understands it.

    One task at a time may await `next_event`, and another one `drain`; `wake`, `write` and `abort` may be called from
    callbacks. Times are seconds.
    """

    __slots__ = (
        "_closing",
        "_deadline",
        "_discarded",
        "_drain_waiter",
        "_encode",
        "_eof",
        "_failure",
        "_implicit",
        "_link",
        "_lost",
        "_machine",
        "_out",
        "_out_size",
        "_outstanding",
        "_paused",
        "_timer",
        "_timer_at",
        "_transport",
        "_turn",
        "_unread",
        "_waiter",
        "_wake",
        "_write_paused",
        "client",
        "id",
        "local_ip",
        "local_port",
        "loop",
        "peer_ip",
        "peer_port",
        "stopping",
        "tls",
        "tls_at_proxy",
        "via",
    )

    def __init__(
        self,
        machine: Machine,
        *,
        client: bool = False,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> None:
        """With `tls` the handshake starts as soon as there is a transport; `await handshake()` ends it."""
        self.id = f"{_run}-{next(_numbers):x}"
        self.client = client
        self.loop = asyncio.get_running_loop()
        self.peer_ip = self.local_ip = ""  # empty for a Unix socket
        self.peer_port = self.local_port = 0
        self.via = ""  # the address of the proxy that told of the peer
        self.tls_at_proxy = False
        self.tls: TlsInfo | None = None
        self.stopping = False  # the appliance shuts down: finish and say goodbye
        self._machine = machine
        self._transport: asyncio.Transport | None = None
        self._link: TlsLink | None = None
        self._encode: Callable[[bytes], bytes] | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._unread = 0
        self._turn = 0
        self._waiter: asyncio.Future[None] | None = None
        self._drain_waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline: float | None = None
        self._outstanding = 0
        self._implicit = (tls, server_hostname) if tls is not None else None
        self._failure: Exception | None = None
        self._paused = self._write_paused = self._wake = self._eof = self._lost = self._closing = False
        self._discarded = -1  # bytes thrown away while lingering; -1: not lingering

    # ── for sessions ──────────────────────────────────────────────────────────────────────────────────────────────

    async def next_event(self, timeout: float) -> Any:  # noqa: ASYNC109 - one timer, moved lazily
        """Return the machine's next event, or WAKE. What was written goes out before it waits.

        Raises IdleTimeoutError after `timeout` seconds without an event, ConnectionLostError when the peer has gone,
        ProtocolError when the machine refuses what came.
        """
        machine = self._machine
        waited = False
        expires = 0.0  # set at the first wait: octets that make no event gain no time
        while True:
            if self._write_paused:
                await self.drain()  # a peer that pipelines but does not read waits for itself
                waited = True
            try:
                event = machine.next_event()
            except ProtocolError as error:
                self._failure = error
                raise
            if event is not None:
                if not waited:
                    self._turn += 1
                    if self._turn >= TURN:
                        await self._give_way()
                return event
            self._unread = 0
            if self._failure is not None:
                raise self._failure
            if self._out:
                self._flush()
            if self._write_paused:
                continue
            if self._wake:
                self._wake = False
                return WAKE
            if self._lost or self._eof:
                raise ConnectionLostError("closed by the peer")
            if self._paused:
                self._resume_reading()
            expires = expires or self.loop.time() + timeout
            left = expires - self.loop.time()
            if left <= 0:
                raise IdleTimeoutError("nothing whole came in time")
            await self._wait(left)
            waited = True

    async def quiet(self, seconds: float) -> bool:
        """Wait until the peer speaks, or `seconds` are over, and tell whether it kept silent. A shutdown ends it too.

        What was said is not lost: `next_event` gives it. Raises ConnectionLostError when the peer has gone.
        """
        self._flush()
        if not self._unread and not (self._wake or self._lost or self._eof):
            try:
                await self._wait(seconds)
            except IdleTimeoutError:
                return True
        if not self._unread and (self._lost or self._eof):
            raise ConnectionLostError("closed by the peer")
        return not self._unread

    def write(self, data: bytes) -> None:
        """Queue bytes; they leave when the session comes to wait, on `drain`, or beyond CORK. Never blocks."""
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > CORK:
            self._flush()

    def write_pieces(self, pieces: Sequence[bytes | memoryview]) -> None:
        """`write` of all of them, one behind the other; where there is no TLS they are not joined for that."""
        if self._link is not None or self._encode is not None or self._transport is None or self._lost:
            self.write(b"".join(pieces))
            return
        self._flush()
        self._transport.writelines(pieces)

    def encode_output(self, encode: Callable[[bytes], bytes] | None) -> None:
        """Send what was written so far; whatever is written from now on goes through `encode`, and then TLS.

        None ends that: what follows is sent as it is.
        """
        self._flush()
        self._encode = encode

    async def drain(self) -> None:
        """Send all that was written and wait until most of it has left. Call it between the pieces of long answers.

        Raises ConnectionLostError also for a peer that takes less than WRITE_PROGRESS bytes in WRITE_STALL_S.
        """
        self._flush()
        while self._write_paused and not self._lost:
            if self._drain_waiter is None:
                self._outstanding = self._unsent()
                self._drain_waiter = self.loop.create_future()
                self._arm(WRITE_STALL_S)
            await asyncio.shield(self._drain_waiter)  # others may wait for the same: whoever reads, and whoever writes
        if self._lost:
            raise ConnectionLostError("the peer has gone")

    def wake(self) -> None:
        """Make `next_event` return WAKE, now if it waits, else as soon as it would wait."""
        self._wake = True
        self._notify()

    def stop(self) -> None:
        """Let the session end: it finishes what it answers just now and says goodbye."""
        self.stopping = True
        self.wake()

    async def start_tls(self, context: ssl.SSLContext, *, server_hostname: str | None = None) -> TlsInfo:
        """Send what was written in clear, then agree on TLS. For STARTTLS and for implicit TLS alike.

        Raises ProtocolError if the machine holds bytes sent before the handshake, TlsError, ConnectionLostError.
        """
        self._machine.start_tls()
        self._unread = 0
        self._flush()
        self._begin_tls(context, server_hostname)
        return await self.handshake()

    async def handshake(self) -> TlsInfo:
        """Wait until TLS is agreed, at most HANDSHAKE_S. Raises TlsError, ConnectionLostError."""
        link = cast(TlsLink, self._link)
        if self._paused:
            self._resume_reading()
        expires = self.loop.time() + HANDSHAKE_S
        while not link.established:
            if self._failure is not None:
                raise self._failure
            if self._lost or self._eof:
                raise TlsError("the peer closed the connection during the handshake")
            try:
                await self._wait(max(0.0, expires - self.loop.time()))
            except IdleTimeoutError as error:
                raise TlsError(f"no handshake within {HANDSHAKE_S:.0f} s") from error
        self.tls = link.info()
        return self.tls

    async def close(self) -> None:
        """Send what was written, end TLS properly, close, and wait until that is done. Safe to call twice."""
        if self._transport is None or self._lost:
            self._forget_timer()
            return
        if not self._closing:
            self._begin_close()
        try:
            while not self._lost:
                self._waiter = self.loop.create_future()
                await self._waiter
        finally:
            self._waiter = None
            if not self._lost:
                self.abort()

    def abort(self) -> None:
        """Drop the connection and what was not sent yet, at once."""
        self._forget_timer()
        if self._transport is not None and not self._lost:
            self._closing = True
            self._transport.abort()

    def come_by(self, proxied: Proxied) -> None:
        """Take the two ends that a trusted proxy told in place of the socket's."""
        self.via = self.peer_ip or "local"
        self.peer_ip, self.peer_port = proxied.peer_ip, proxied.peer_port
        self.local_ip, self.local_port = proxied.local_ip, proxied.local_port
        self.tls_at_proxy = proxied.tls

    def facts(self, role: str) -> Session:
        """What hooks may look at, as it stands now: the beginning of a session of that role."""
        return Session(
            id=self.id,
            role=role,
            peer_ip=self.peer_ip,
            peer_port=self.peer_port,
            local_ip=self.local_ip,
            local_port=self.local_port,
            tls=self.tls,
            via=self.via,
            tls_at_proxy=self.tls_at_proxy,
        )

    def peer_certificate(self) -> bytes | None:
        """The certificate the peer showed, in DER."""
        return self._link.peer_certificate() if self._link is not None else None

    def peer_chain(self) -> list[bytes]:
        """The certificates the peer showed, in DER: its own first. Not to be believed without a check."""
        return self._link.peer_chain() if self._link is not None else []

    @property
    def machine(self) -> Machine:
        """The protocol of this connection; its session tells it what to expect next."""
        return self._machine

    @property
    def attached(self) -> bool:
        """Whether there is, or was, a transport."""
        return self._transport is not None

    @property
    def lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._lost

    # ── called by the event loop ──────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport and note both ends."""
        self._transport = cast(asyncio.Transport, transport)
        self.peer_ip, self.peer_port = _ends(transport.get_extra_info("peername"))
        self.local_ip, self.local_port = _ends(transport.get_extra_info("sockname"))
        if self._implicit is not None:  # before the first byte can arrive
            self._begin_tls(*self._implicit)
            self._implicit = None

    def data_received(self, data: bytes) -> None:
        """Feed the machine, and stop reading while an answer is owed or it holds too much."""
        if self._discarded >= 0:
            self._discard(len(data))
            return
        if self._link is not None:
            data = self._decrypt(self._link, data)
            if not data:
                return
        self._unread += len(data)
        try:
            self._machine.receive(data)
        except ProtocolError as error:
            self._failure = error
        waiter = self._waiter
        if waiter is None or self._unread > READ_AHEAD:
            self._pause_reading()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def eof_received(self) -> bool:
        """Note that the peer sends no more. Answers in flight still go out, so the transport stays open."""
        self._eof = True
        if self._discarded >= 0 and self._transport is not None:
            self._transport.close()
        self._notify()
        return True

    def pause_writing(self) -> None:
        """The transport's buffer is full: `drain` and `next_event` wait."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The transport's buffer is nearly empty again."""
        self._write_paused = False
        if self._drain_waiter is not None:
            self._drain_waiter.set_result(None)
            self._drain_waiter = None
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that it is over."""
        self._lost = True
        self._forget_timer()
        self._out.clear()
        self.resume_writing()
        self._notify()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _give_way(self) -> None:
        """Let other connections work, after TURN events that came without waiting."""
        self._turn = 0
        self._flush()
        await asyncio.sleep(0)

    async def _wait(self, timeout: float) -> None:  # noqa: ASYNC109
        self._turn = 0
        self._waiter = waiter = self.loop.create_future()
        self._arm(timeout)
        try:
            await waiter
        finally:
            self._waiter = None
            self._deadline = None

    def _notify(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _flush(self) -> None:
        if not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._out_size = 0
        if self._lost or self._transport is None:
            return
        if self._encode is not None:
            data = self._encode(data)
        if self._link is None:
            self._transport.write(data)
            return
        try:
            self._link.send(data)
        except TlsError as error:
            self._failure = error
        self._send_cipher(self._link)

    def _send_cipher(self, link: TlsLink) -> None:
        data = link.outgoing()
        if data and self._transport is not None and not self._lost:
            self._transport.write(data)

    def _begin_tls(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._link = TlsLink(context, server_side=not self.client, server_hostname=server_hostname)
        if self.client:
            self._link.start()
            self._send_cipher(self._link)

    def _decrypt(self, link: TlsLink, data: bytes) -> bytes:
        was_established = link.established
        try:
            plain = link.receive(data)
        except TlsError as error:
            self._failure = error
            plain = b""
        self._send_cipher(link)  # handshake, alert, tickets, key update
        if link.eof:
            self._eof = True
        if self._failure is not None or self._eof or link.established is not was_established:
            self._notify()
        return plain

    def _pause_reading(self) -> None:
        if not self._paused and self._transport is not None and not self._closing:
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused = False
        if self._transport is not None and not self._closing:
            self._transport.resume_reading()

    def _unsent(self) -> int:
        """Bytes that the peer has not taken: ours, and those that the kernel holds."""
        transport = self._transport
        if transport is None:
            return 0
        held = transport.get_write_buffer_size()
        sock = transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return held
        try:
            packed = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except OSError:  # a kind of socket that does not tell
            return held
        return held + int(struct.unpack("i", packed)[0])

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_close(self) -> None:
        transport = cast(asyncio.Transport, self._transport)
        self._flush()
        if self._link is not None:
            self._link.close()
            self._send_cipher(self._link)
        # Closing a socket that holds unread bytes sends a reset, and that can overtake our last words.
        talking = self._paused or isinstance(self._failure, ProtocolError)
        linger = talking and not self._eof and transport.can_write_eof()
        if linger:
            self._discarded = 0
            if self._paused:
                self._resume_reading()
            try:
                transport.write_eof()
            except OSError:  # the peer has reset the connection: nobody is left to read our last words
                linger = False
        self._closing = True
        if not linger:
            transport.close()
        self._arm(LINGER_S if linger else CLOSE_S)

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > LINGER_BYTES:
            self.abort()

    # ── one timer for all deadlines ───────────────────────────────────────────────────────────────────────────────

    def _arm(self, seconds: float) -> None:
        """Set the deadline. The timer moves only when it would fire too late: most waits cost no timer at all."""
        when = self.loop.time() + seconds
        self._deadline = when
        if self._timer is None or self._timer_at > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self.loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return  # the session is at work; its next wait sets a timer
        if self.loop.time() < self._deadline - 0.002:
            self._timer_at = self._deadline
            self._timer = self.loop.call_at(self._deadline, self._on_timer)
            return
        self._expire()

    def _expire(self) -> None:
        if self._closing:
            self.abort()
        elif self._drain_waiter is not None:
            unsent = self._unsent()
            if self._outstanding - unsent >= WRITE_PROGRESS:
                self._outstanding = unsent
                self._arm(WRITE_STALL_S)
            else:
                self.abort()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(IdleTimeoutError("nothing came in time"))

    def _forget_timer(self) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _ends(name: Any) -> tuple[str, int]:
    """Address and port of one end; ("", 0) for a Unix socket. IPv4-mapped addresses are shown as IPv4."""
    if not isinstance(name, tuple):
        return "", 0
    return name[0].removeprefix("::ffff:") if "." in name[0] else name[0], name[1]


class ConnectError(ApplianceError):
    """No connection could be made. `ours`: because of our own network, whoever was to be reached."""

    def __init__(self, text: str, *, ours: bool = False) -> None:
        super().__init__(text)
        self.ours = ours


_OUR_OWN = frozenset(
    (errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EMFILE, errno.ENFILE)
)


async def connect(
    host: str,
    port: int,
    machine: Machine,
    *,
    timeout: float,  # noqa: ASYNC109 - part of the error's text
    local_addr: str | None = None,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Connection:
    """Connect to a host (best an address: names go to the system's blocking resolver) within `timeout` seconds.

    With port 0, `host` is the path of a Unix socket.
    With `tls` the handshake follows at once (implicit TLS), checked against `server_hostname` or `host`.
    Raises ConnectError, TlsError.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(machine, client=True, tls=tls, server_hostname=server_hostname or host)
    try:
        async with asyncio.timeout(timeout):
            local = (local_addr, 0) if local_addr else None
            if port:
                await loop.create_connection(lambda: connection, host, port, local_addr=local)
            else:
                await loop.create_unix_connection(lambda: connection, host)
            if tls is not None:
                await connection.handshake()
    except TimeoutError as error:
        connection.abort()
        raise ConnectError(f"{host}:{port}: no answer within {timeout:g} s") from error
    except OSError as error:
        connection.abort()
        # asyncio's own text is no reason: "Connect call failed".
        words = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise ConnectError(f"{host}:{port}: {words}", ours=error.errno in _OUR_OWN) from error
    except BaseException:
        connection.abort()
        raise
    return connection
