"""Listening sockets of one server role: open them, accept within limits, run a session per connection, stop in order.

Sockets are opened before any service starts, so that a port in use is a start-up error beside all others. A socket
that systemd hands over under the listener's name (LISTEN_FDNAMES) is used instead of opening one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import stat
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.connection import Connection, ConnectionLostError, IdleTimeoutError, Machine
from appliance.errors import ConfigError, Problem, ProtocolError
from appliance.log import session_id
from appliance.proxies import TrustedProxies, read_proxied
from appliance.stress import Stress
from appliance.tlslink import TlsError
from appliance.wire.proxy import Proxied, ProxyError

if TYPE_CHECKING:
    from appliance.config import Bind
    from appliance.core import Core
    from appliance.tls import Certificates

log = logging.getLogger(__name__)

ACCEPTS_PER_WAKE = 64  # connections taken before sessions get their turn
ACCEPT_PAUSE_S = 1.0  # rest after the system ran out of descriptors or memory
FIRST_SYSTEMD_FD = 3  # sd_listen_fds(3)
EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener allows. `max_per_peer` counts connections of one IPv4 address or IPv6 /64, not Unix sockets.

    From `stress` connections on the listener's `stress` is on, and its sessions should hurry; 0 is never.
    """

    max_connections: int = 1000
    stress: int = 0
    max_per_peer: int = 100
    backlog: int = 512
    grace_s: float = 10.0  # for sessions to say goodbye when the appliance stops


def addresses_of(core: Core, section: type, setting: str) -> Callable[[], Sequence[Bind]]:
    """What a listener asks for its addresses: one setting of a section, looked up anew, so that a reload is seen."""

    def binds() -> Sequence[Bind]:
        addresses: Sequence[Bind] = getattr(core.settings[section], setting)
        return addresses

    return binds


class Listener:
    """A service that accepts connections and runs `serve` for each in a task of its own.

    `binds` is asked again on reload: new addresses are opened, gone ones closed, sessions stay. `machine` makes the
    protocol of one connection. `busy_reply` is sent to peers beyond a limit (not before a TLS handshake).
    `setting` is the dotted name of the setting behind `binds`, for errors. `proxies` may be replaced at any time.
    """

    def __init__(
        self,
        name: str,
        binds: Callable[[], Sequence[Bind]],
        *,
        machine: Callable[[], Machine],
        serve: Callable[[Connection], Awaitable[None]],
        certificates: Certificates | None = None,
        implicit_tls: bool = False,
        logins: bool = False,
        limits: Limits | None = None,
        busy_reply: bytes = b"",
        after: Sequence[str] = (),
        setting: str = "",
    ) -> None:
        if implicit_tls and certificates is None:
            raise ValueError(f"{name}: implicit TLS needs certificates")
        self.name = name
        self.after = after
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()
        self.stress = Stress(name, self.limits.stress, self._hurry)
        self.refused = 0  # peers turned away at a limit
        self.proxies = TrustedProxies()
        self._binds = binds
        self._machine = machine
        self._serve = serve
        self._certificates = certificates
        self._implicit_tls = implicit_tls
        self._logins = logins
        self._busy_reply = b"" if implicit_tls else busy_reply
        self._setting = setting or f"{name}.listen"
        self._sockets: dict[Bind | str, socket.socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: Counter[str] = Counter()
        self._accepting = False
        self._exhausted = False
        self._stop_by: float | None = None  # set while stopping: when the sessions' grace ends

    # ── sockets ───────────────────────────────────────────────────────────────────────────────────────────────────

    def open_sockets(self) -> None:
        """Open what is configured and not open yet. Raises ConfigError with one Problem per address that failed."""
        if not self._sockets:
            inherited = inherited_sockets().get(self.name, [])
            self._sockets.update({f"systemd:{number}": sock for number, sock in enumerate(inherited)})
        if any(isinstance(key, str) for key in self._sockets):
            return  # systemd decides
        problems = []
        for bind in self._binds():
            if bind in self._sockets:
                continue
            try:
                self._sockets[bind] = _open(bind, self.limits.backlog)
            except OSError as error:
                problems.append(_problem(self._setting, bind, error))
        if problems:
            raise ConfigError(problems)

    def close_unwanted(self) -> None:
        """Close what is open and configured no more. Connections stay."""
        wanted = set(self._binds())
        for bind in list(self._sockets):
            if not isinstance(bind, str) and bind not in wanted:
                self._close_socket(bind)

    def close_sockets(self) -> None:
        """Stop listening."""
        for bind in list(self._sockets):
            self._close_socket(bind)

    @property
    def addresses(self) -> list[str]:
        """Where it listens now."""
        return [str(bind) for bind in self._sockets]

    @property
    def bound(self) -> list[tuple[str, int]]:
        """The address and port of each TCP socket that is open, those of systemd included."""
        tcp = [one for one in self._sockets.values() if one.family in (socket.AF_INET, socket.AF_INET6)]
        return [one.getsockname()[:2] for one in tcp]

    def _close_socket(self, bind: Bind | str) -> None:
        sock = self._sockets.pop(bind)
        if self._accepting:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        if isinstance(bind, str):
            return  # systemd's: a restarted service gets it again
        sock.close()
        if bind.is_unix:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(bind.host)

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, ready: Callable[[], None]) -> None:
        """Accept until cancelled; then let sessions finish within the grace time, and abort the rest."""
        self.open_sockets()
        self._accepting = True
        self._watch()
        try:
            ready()
            await asyncio.get_running_loop().create_future()
        finally:
            self.begin_stop()
            await self._finish_sessions()
            self._stop_by = None

    async def reload(self) -> None:
        """Follow changed addresses. Those that cannot be opened are logged; everything open stays."""
        try:
            self.open_sockets()
        except ConfigError as error:
            log.error("%s: %s", self.name, error)
        self.close_unwanted()
        if self._accepting:
            self._watch()

    def _watch(self) -> None:
        self._exhausted = False
        loop = asyncio.get_running_loop()
        for sock in self._sockets.values():
            loop.add_reader(sock.fileno(), self._accept, sock)

    def begin_stop(self) -> None:
        """Stop accepting and tell sessions; their grace time begins. Called for all listeners before any is ended."""
        if self._stop_by is not None:
            return
        self._stop_by = asyncio.get_running_loop().time() + self.limits.grace_s
        self.close_sockets()
        self._accepting = False
        for connection in self.connections:
            connection.stop()

    async def _finish_sessions(self) -> None:
        rest = max(0.0, (self._stop_by or 0.0) - asyncio.get_running_loop().time())
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=rest)
        finally:
            if self._tasks:
                log.warning("%s: %d session(s) cut off at shutdown", self.name, len(self._tasks))
            for connection in self.connections:
                connection.abort()
            for task in self._tasks:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    # ── accepting ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    log.warning("%s: accept: %s", self.name, error.strerror)
                    return
                self._rest(error)
                return
            by_proxy = isinstance(address, tuple) and self.proxies.trusts(address[0], listening)
            # A proxy's clients are counted, not the proxy itself.
            peer = peer_key(address[0]) if isinstance(address, tuple) and not by_proxy else ""
            if self._over_limit(peer):
                self._turn_away(sock)
                continue
            session = self._proxied_session(sock) if by_proxy else self._session(sock, self._count(peer))
            task = asyncio.get_running_loop().create_task(session)
            self._tasks.add(task)
            self.stress.note(len(self._tasks))
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.stress.note(len(self._tasks))

    def _hurry(self) -> None:
        """Let sessions that wait set their time-outs anew: those that keep others out have the longest ones."""
        if self.stress.on:
            for connection in self.connections:
                connection.wake()

    def _rest(self, error: OSError) -> None:
        """Without descriptors a listening socket stays readable and would spin: look away for a while."""
        if self._exhausted:
            return
        self._exhausted = True
        log.error("%s: accept: %s; resting %.0f s", self.name, error.strerror, ACCEPT_PAUSE_S)
        loop = asyncio.get_running_loop()
        for sock in self._sockets.values():
            loop.remove_reader(sock.fileno())
        loop.call_later(ACCEPT_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._accepting:
            self._watch()

    def _over_limit(self, peer: str, *, own: int = 0) -> bool:
        """Whether there are too many; `own` tasks among those that run are the asker's."""
        if len(self._tasks) - own >= self.limits.max_connections:
            return True
        return bool(peer) and self._peers[peer] >= self.limits.max_per_peer

    def _turn_away(self, sock: socket.socket) -> None:
        self.refused += 1
        with contextlib.suppress(OSError):  # the peer may have gone already
            sock.setblocking(False)
            if self._busy_reply:
                sock.send(self._busy_reply)
                sock.shutdown(socket.SHUT_WR)
        sock.close()

    async def _proxied_session(self, sock: socket.socket) -> None:
        """A session whose peer is told by the proxy that connected."""
        try:
            sock.setblocking(False)
            proxied = await read_proxied(sock)
        except (ProxyError, OSError) as error:
            log.warning("%s: a connection of a trusted proxy: %s", self.name, error)
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        peer = peer_key(proxied.peer_ip) if proxied is not None else ""
        if self._over_limit(peer, own=1):
            self._turn_away(sock)
            return
        await self._session(sock, self._count(peer), proxied)

    async def _session(self, sock: socket.socket, peer: str, proxied: Proxied | None = None) -> None:
        context = None
        if self._implicit_tls and self._certificates:
            context = self._certificates.login_context() if self._logins else self._certificates.server_context()
        connection = Connection(self._machine(), tls=context)
        session_id.set(connection.id)
        if self._stop_by is not None:  # accepted just before
            connection.stop()
        self.connections.add(connection)
        try:
            sock.setblocking(False)
            await connection.loop.connect_accepted_socket(lambda: connection, sock)
            if proxied is not None:
                connection.come_by(proxied)
            if context is not None:
                await connection.handshake()
            await self._serve(connection)
        except ProtocolError as error:
            log.info("%s: %s: %s", self.name, connection.peer_ip or "local", error)
            connection.write(error.reply)
        except (ConnectionLostError, IdleTimeoutError, TlsError) as error:
            log.debug("%s: %s: %s", self.name, connection.peer_ip or "local", error)
        except Exception:
            log.exception("%s: session of %s failed", self.name, connection.peer_ip or "local")
        finally:
            try:
                await connection.close()
            finally:
                if not connection.attached:
                    sock.close()  # it never came to a transport, which would own it
                self.connections.discard(connection)
                self._forget(peer)

    def _count(self, peer: str) -> str:
        if peer:
            self._peers[peer] += 1
        return peer

    def _forget(self, peer: str) -> None:
        if not peer:
            return
        self._peers[peer] -= 1
        if self._peers[peer] <= 0:
            del self._peers[peer]


def peer_key(address: str) -> str:
    """What connections are counted by: the IPv4 address, or the /64 that one IPv6 host can draw addresses from."""
    if ":" not in address:
        return address
    ip = ipaddress.IPv6Address(address.partition("%")[0])
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))


def _open(bind: Bind, backlog: int) -> socket.socket:
    """Open one listening socket; "" listens on all addresses, by IPv6 and IPv4 where the machine has both."""
    if bind.is_unix:
        return _open_unix(bind.host, backlog)
    family = socket.AF_INET6 if ":" in bind.host or not bind.host else socket.AF_INET
    if not bind.host and not _has_ipv6():
        family = socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit these. Keep-alive finds peers that vanished while they idled.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if bind.host else 0)
        sock.bind((bind.host, bind.port))
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(path: str, backlog: int) -> socket.socket:
    """Open a Unix socket for this user and group; a dead one that lies in the way is replaced, nothing else is."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
                probe.connect(path)
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o660)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _problem(setting: str, bind: Bind, error: OSError) -> Problem:
    remedies = {
        errno.EADDRINUSE: "Stop the program that holds it, or choose another port.",
        errno.EACCES: "Ports below 1024 need the right to bind them (systemd does that), or choose a higher port.",
        errno.EADDRNOTAVAIL: "Use an address that this machine has.",
        errno.ENOENT: "Create the folder of the socket.",
    }
    return Problem(
        setting, f"cannot listen on {bind}: {error.strerror}.", remedies.get(error.errno or 0, "Use another address.")
    )


def inherited_sockets(environ: MutableMapping[str, str] | None = None) -> dict[str, list[socket.socket]]:
    """Sockets handed over by systemd, by name (sd_listen_fds_with_names(3)). Taken once; later calls give the same."""
    environ = os.environ if environ is None else environ
    if environ.get("LISTEN_PID") == str(os.getpid()):
        names = environ.get("LISTEN_FDNAMES", "").split(":")
        for number in range(int(environ.get("LISTEN_FDS", "0"))):
            name = names[number] if number < len(names) else ""
            sock = socket.socket(fileno=FIRST_SYSTEMD_FD + number)
            sock.setblocking(False)
            sock.set_inheritable(False)
            _inherited.setdefault(name, []).append(sock)
        for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            environ.pop(variable, None)  # children must not take them for theirs
    return _inherited


def close_spare(names: Collection[str]) -> list[str]:
    """Close what systemd handed over for listeners that there are not, since their role is off; returns their names."""
    spare = sorted(set(_inherited) - set(names))
    for name in spare:
        for sock in _inherited.pop(name):
            sock.close()
    return spare


_inherited: dict[str, list[socket.socket]] = {}
