"""palomar-hw's only composition root: parts, the state that they make together, and who hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.config import CoreConfig, Section
from appliance.document import Document
from appliance.errors import ConfigError
from appliance.notify import Notifier
from appliance.settings import core_settings, read_settings
from hw import ethtool, health
from hw.board import read_board
from hw.button import PowerButton
from hw.clock import ClockKeeper
from hw.config import NetworkConfig
from hw.dhcp import DhcpWorker
from hw.eventlog import EventLog
from hw.failover import Failover
from hw.flaps import FlapGuard
from hw.leds import Lamp
from hw.linklocal import LinkLocal, LinkLocalWorker
from hw.mdns import Responder
from hw.messages import Note, State, Storage, Vitals
from hw.monitor import HotplugWatch
from hw.netlink import NetlinkKernel
from hw.network import LOOK_ANYWAY_S, Key, Network, Worker
from hw.notes import NotesWatch
from hw.part import Duty, Facts, Part, keep
from hw.resolv import load_rules
from hw.server import Server
from hw.sockets import SpareSockets, opened_ahead
from hw.statefile import write_state
from hw.storage import StorageWatch
from hw.vitals import VitalsWatch
from hw.wanted import Plan
from hw.watchdog import Watchdog
from hw.wifi import WifiWorker
from hw.words import addresses_of, nics_of, uplinks_of

log = logging.getLogger(__name__)

STOP_S = 5.0
TELL_S = 0.1
"""Changes within that time are told together."""
MAIL_USER = "palomar"
MAIL_BY_S = 20.0
"""For so long mDNS waits for mail, which has the processor until then; services are told with the name at once."""


def read_network_config(path: Path) -> tuple[NetworkConfig, str]:
    """The table [network] and the top-level hostname. Raises ConfigError with the problems of these two only."""
    document = Document.read(path)
    core, problems = core_settings(document)
    section = Section("network", NetworkConfig)
    others = [name for name, value in document.data.items() if isinstance(value, dict) and name != "network"]
    settings, found = read_settings(document, [Section("", CoreConfig), section], passed_over=others)
    problems = [*(one for one in problems if one.setting == "hostname"), *found]
    mine = [one for one in problems if one.setting.partition(".")[0] in {"network", "hostname", "file"}]
    if mine:
        raise ConfigError(list(dict.fromkeys(mine)))
    return settings[NetworkConfig], core.hostname


class Process:
    """All of palomar-hw. `run_folder` and `data` are where it writes; `config` is the file that it reads."""

    def __init__(self, config: Path, *, run_folder: Path, data: Path, notifier: Notifier | None = None) -> None:
        self._path = config
        self._run = run_folder
        self._data = data
        self._notifier = notifier or Notifier()
        self._board = read_board()
        self._kernel = NetlinkKernel()
        self._lamp = Lamp()
        self._clock = ClockKeeper(data=data)
        self._watchdog = Watchdog()
        self._storage = StorageWatch(data)
        self._flaps = FlapGuard()
        self._mdns = Responder(mail_by_s=MAIL_BY_S)
        self._button = PowerButton()
        self._spare = SpareSockets()
        self._failover = Failover(lambda failed: self._network.failed(failed))
        self._facts: dict[type, Facts] = {}
        self._notes: dict[str, tuple[Note, ...]] = {}
        self._time_state = "unset"
        self._tell = asyncio.Event()
        self._told: State | None = None
        self._seen: set[str] = set()
        settings, hostname = self._first_settings()
        self._network = Network(
            self._kernel,
            settings,
            hostname=hostname,
            changed=self._network_changed,
            hire=self._hire,
            load_rules=load_rules,
            resolv_conf=run_folder / "resolv.conf",
            has_ssh_key=(data / "identity/ssh/authorized_keys").exists,
            listening=opened_ahead(),
        )
        self._server = Server(
            run_folder / "hw.sock", self, self.state, may_connect=_may_connect(), group=_group(MAIL_USER)
        )

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit status."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        async with self._kernel:
            tasks = [asyncio.create_task(self._keep(part), name=part.name) for part in self._parts()]
            try:
                while not self._network.rounds and not stop.is_set():
                    await asyncio.wait({asyncio.create_task(stop.wait())}, timeout=TELL_S)
                self._notifier.ready()
                await stop.wait()
            finally:
                # The network stays as it is: mail goes on while this process is started anew.
                self._notifier.stopping()
                await _end(tasks)
        return 0

    def reload(self) -> None:
        """Read the configuration anew (SIGHUP): all of it, or nothing where something is wrong."""
        self._notifier.reloading()
        try:
            self._network.configure(*read_network_config(self._path))
            self._note("configuration", ())
            log.info("reloaded")
        except ConfigError as error:
            self._config_problems(error, "The old settings go on.")
        finally:
            self._notifier.ready()

    def _first_settings(self) -> tuple[NetworkConfig, str]:
        """The settings to begin with. A broken file must not keep a board off the network that could mend it."""
        try:
            return read_network_config(self._path)
        except ConfigError as error:
            self._config_problems(error, "The network runs by its defaults.")
            return NetworkConfig(), ""

    def _config_problems(self, error: ConfigError, consequence: str) -> None:
        for problem in error.problems:
            log.error("%s", problem)
        texts = [f"{problem} {consequence}" for problem in error.problems]
        self._note("configuration", tuple(Note(source="configuration", level="error", text=text) for text in texts))

    def _parts(self) -> Sequence[Part]:
        return [
            self._network,
            self._server,
            self._clock,
            self._watchdog,
            self._lamp,
            self._flaps,
            self._mdns,
            self._failover,
            self._storage,
            VitalsWatch(),
            NotesWatch(),
            EventLog(self._data / "log"),
            self._button,
            self._spare,
            HotplugWatch({"net": self._network.dirty, "input": self._button.changed}),
            Duty("telling", self._tell_all),
            Duty("systemd's watchdog", self._feed_systemd),
        ]

    async def _keep(self, part: Part) -> None:
        await keep(part, lambda facts: self._report(part.name, facts), clock=time.monotonic)

    async def _feed_systemd(self) -> None:
        while True:
            self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog_s / 3 or LOOK_ANYWAY_S)

    # ── what clients want (hw.server.Wishes) ──────────────────────────────────────────────────────────────────────

    def mail_alive(self, *, full: bool) -> None:
        """See Wishes."""
        self._watchdog.mail_alive()
        self._storage.mail_room(full=full)
        self._tell.set()

    def mail_gone(self) -> None:
        """See Wishes."""
        self._watchdog.mail_gone()
        self._tell.set()

    def listening(self, ports: tuple[int, ...]) -> None:
        """See Wishes."""
        self._network.listening(ports)
        self._mdns.serve(ports)
        self._spare.listening(ports)

    def renew(self, nic: str) -> None:
        """See Wishes."""
        self._network.renew(nic)

    def identify(self, seconds: int) -> None:
        """See Wishes."""
        self._lamp.identify(seconds)

    # ── the state ─────────────────────────────────────────────────────────────────────────────────────────────────

    def state(self) -> State:
        """Everything that is known now."""
        network = self._network
        vitals, storage = self._facts.get(Vitals), self._facts.get(Storage)
        notes = [note for notes in self._notes.values() for note in notes]
        return State(
            board=self._board,
            vitals=vitals if isinstance(vitals, Vitals) else Vitals(),
            nics=nics_of(network.present),
            uplinks=uplinks_of(network.plan, network.present, self._failover.reasons),
            addresses=addresses_of(network.plan, network.present),
            dns=network.plan.dns,
            search=network.plan.search,
            ntp=network.plan.ntp,
            hostname=network.plan.hostname,
            mdns_name=self._mdns.host_name,
            time_state=self._time_state,  # type: ignore[arg-type]
            storage=storage if isinstance(storage, Storage) else None,
            notes=(*notes, *network.notes),
            settled=network.is_settled,
        )

    def _report(self, part: str, facts: Facts) -> None:
        if isinstance(facts, tuple):
            self._note(part, facts)
        elif isinstance(facts, str):
            self._time_state = facts
        else:
            self._facts[type(facts)] = facts
        self._tell.set()

    def _note(self, source: str, notes: tuple[Note, ...]) -> None:
        self._notes[source] = notes
        self._tell.set()

    def _network_changed(self) -> None:
        network = self._network
        for link in network.present.links:
            nic = link.nic
            if nic.kind == "ethernet" and nic.name not in self._seen:
                self._seen.add(nic.name)
                if any(own.name == nic.name and own.eee is False for own in network.plan.links):
                    ethtool.eee_off(nic.name)
            self._flaps.carrier(nic.name, nic.carrier_changes)
        self._seen &= {link.nic.name for link in network.present.links}
        self._clock.servers(network.plan.ntp)
        self._mdns.follow(network.plan, network.present)
        self._failover.follow(network.plan, network.present)
        self._tell.set()

    async def _tell_all(self) -> None:
        """Tell clients, the file and the LED, a few changes at a time."""
        while True:
            await self._tell.wait()
            await asyncio.sleep(TELL_S)
            self._tell.clear()
            state = self.state()
            self._lamp.show(health.pattern(state, mail_is_well=self._watchdog.mail_is_well))
            if state == self._told:
                continue
            self._told = state
            self._server.broadcast(state)
            try:
                write_state(self._run, state)
            except OSError as error:
                log.warning("cannot write the state: %s", error)

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _hire(self, network: Network, plan: Plan) -> dict[Key, Worker]:
        """Who shall work on the links of this plan. Only new keys are started, so making the rest costs nothing."""
        macs = {link.nic.name: link.nic.mac for link in network.present.links}
        have = {one.link for one in plan.addresses if ":" not in one.address and one.source != "link-local"}
        wanted: dict[Key, Worker] = {}
        for client in plan.dhcp:
            if client.link in macs:
                # The metric is the plan's matter; a client is not started anew for it.
                key = Key("dhcp", (client.link, client.hostname))
                wanted[key] = DhcpWorker(client, self._data / "hw", network.leased)
        for link in plan.link_local:
            if link in macs and link not in have:
                spec = LinkLocal(link=link, mac=macs[link])
                wanted[Key("link-local", spec)] = LinkLocalWorker(spec, network.link_local)
        for wifi in plan.wifi:
            if wifi.link in macs:
                wanted[Key("wifi", wifi)] = WifiWorker(wifi, self._run)
        return wanted


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel all and wait, but not for ever: a library that does not let go must not hold up the board's stop."""
    for task in tasks:
        task.cancel()
    _, stuck = await asyncio.wait(tasks, timeout=STOP_S)
    for task in stuck:
        log.error("%s did not end within %.0f s: %s", task.get_name(), STOP_S, task.get_stack(limit=1))


def _may_connect() -> Callable[[int], bool]:
    allowed = {0, os.geteuid()}
    for user in (MAIL_USER, "admin"):
        with contextlib.suppress(KeyError):
            allowed.add(pwd.getpwnam(user).pw_uid)
    return allowed.__contains__


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return -1
