"""The composition root: from a file to a running appliance. Nothing else puts the parts together."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pluggy

from appliance import demo, loading
from appliance.auth import AuthConfig, Authenticator, installation_secret
from appliance.calls import all_calls
from appliance.config import (
    CORE_SECTIONS,
    CoreConfig,
    Section,
    Settings,
    StoreConfig,
)
from appliance.control import ControlServer
from appliance.core import Core
from appliance.dispatch import Dispatch
from appliance.dns import DnsConfig, Resolver
from appliance.document import Document, find_config
from appliance.errors import ConfigError, Problem
from appliance.hookspecs import Service
from appliance.intake import Intake
from appliance.listener import Listener, close_spare
from appliance.lock import FolderLock
from appliance.log import LogConfig, configure
from appliance.notify import Notifier
from appliance.preflight import exposed, overlapping, preflight
from appliance.proxies import TrustedProxies
from appliance.queue.config import QueueConfig
from appliance.queue.runner import QueueRunner
from appliance.settings import core_settings, read_settings
from appliance.store import Store
from appliance.supervisor import Supervisor
from appliance.tls import Certificates, TlsConfig
from appliance.tls import problems as tls_problems
from appliance.trace import Trace

log = logging.getLogger(__name__)

SECTIONS = (
    *CORE_SECTIONS,
    Section("log", LogConfig),
    Section("tls", TlsConfig),
    Section("dns", DnsConfig),
    Section("auth", AuthConfig),
    Section("queue", QueueConfig),
)
OVERLAP_REMEDY = "Restart palomar: it listens there itself, and keeps its old addresses until it has the new ones."


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was read and understood, with its plugins."""

    path: Path
    settings: Settings
    manager: pluggy.PluginManager
    dispatch: Dispatch


def load(path: Path | None = None) -> Loaded:
    """Read the file and load its plugins. Raises ConfigError with every problem of both."""
    loaded, problems = _read(path)
    if problems:
        raise ConfigError(problems)
    return loaded


def examine(path: Path | None = None, *, running: bool = False) -> tuple[Loaded, list[Problem]]:
    """Read the file and say all that is wrong with it, what a start would trip over included.

    Where something is wrong, `Loaded` is good for looking at only. Raises ConfigError when the file cannot be read.
    """
    loaded, problems = _read(path)
    return loaded, [*problems, *_unsaid(problems, check(loaded, running=running))]


def _read(path: Path | None) -> tuple[Loaded, list[Problem]]:
    document = Document.read(find_config(path))
    core, problems = core_settings(document)
    misread = any(problem.setting == "plugins" for problem in problems)
    manager, broken = loading.load(core.plugins, core.plugin_folder)
    dispatch = Dispatch(manager)
    sections, speechless = dispatch.sections()
    broken += speechless
    problems += [_plugin_problem(document, core, name, text) for name, text in broken]
    settings, found = read_settings(
        document,
        [*SECTIONS, *sections],
        known=_tables_of_others(core),
        # Whose tables these are cannot be known; that their plugins are missing is said already.
        passed_over=document.data if misread else {name.split(".")[0] for name, _ in broken},
    )
    return Loaded(document.path, settings, manager, dispatch), [*problems, *_unsaid(problems, found)]


def _unsaid(said: Sequence[Problem], more: Sequence[Problem]) -> list[Problem]:
    known = {(problem.setting, problem.line) for problem in said}
    return [problem for problem in more if (problem.setting, problem.line) not in known]


def _plugin_problem(document: Document, core: CoreConfig, name: str, text: str) -> Problem:
    place = ("plugins",) if name not in core.plugins else ("plugins", core.plugins.index(name))
    remedy = "Correct the plugin, or take it out of plugins."
    if "no such plugin" in text:
        remedy = f"There are: {', '.join(loading.known_plugins(core.plugin_folder))}."
    elif "named twice" in text:
        remedy = "Take one of them out."
    return document.problem(place, f"{name!r}: {text}.", remedy)


def _tables_of_others(core: CoreConfig) -> dict[str, str]:
    return {name.split(".")[0]: name for name in loading.known_plugins(core.plugin_folder) if name not in core.plugins}


def check(loaded: Loaded, *, running: bool = False) -> list[Problem]:
    """What a start would trip over: ports, certificates, folders. `running`: our own process holds the ports now."""
    settings = loaded.settings
    problems = preflight(settings, ports=not running)
    made = {section.cls for section in settings.sections}
    found = tls_problems(settings[TlsConfig]) if TlsConfig in made else []
    try:
        if DnsConfig in made:
            Resolver(settings[DnsConfig])
    except ConfigError as error:
        found += error.problems
    return problems + settings.placed(found)


def _core(loaded: Loaded, store: Store) -> Core:
    """Wire the parts. The queue and the intake need each other, so one of them is handed over late."""
    dispatch, settings = loaded.dispatch, loaded.settings
    data = settings[CoreConfig].data
    core: Core  # the lambdas look at it only later, so that a reload is seen

    trace = Trace(store, keep=lambda: core.settings[StoreConfig].trace_rows)
    queue = QueueRunner(
        store=store,
        dispatch=dispatch,
        trace=trace,
        config=lambda: core.settings[QueueConfig],
        hostname=lambda: core.settings[CoreConfig].hostname,
        submit=lambda *arguments, **named: core.intake.submit(*arguments, **named),
        postmaster=lambda: core.settings[CoreConfig].postmaster or store.directory.first_account() or "",
        language=lambda address: core.language_of(address),
        time_state=lambda: core.time_state,
    )
    core = Core(
        settings=settings,
        store=store,
        dispatch=dispatch,
        auth=Authenticator(
            lambda: core.settings[AuthConfig],
            find=dispatch.find_credentials,
            verify_external=dispatch.verify_password,
            secret=installation_secret(data),
            login_failed=dispatch.login_failed,
            weak_in_use=store.directory.weak_in_use,
            usable=store.directory.usable,
        ),
        certificates=Certificates(lambda: core.settings[TlsConfig], lambda: core.settings[CoreConfig].hostname, data),
        resolver=Resolver(settings[DnsConfig]),
        trace=trace,
        intake=Intake(
            config=settings[CoreConfig],
            store=store,
            dispatch=dispatch,
            trace=trace,
            queue_take=queue.take,
            tell_delivered=queue.tell_delivered,
        ),
        queue=queue,
    )
    dispatch.attach(core)
    for _, mechanism in dispatch.gather("sasl_mechanisms", core=core):
        core.auth.add_mechanism(mechanism)
    queue.add_transports([transport for _, transport in dispatch.gather("transports", core=core)])
    return core


@contextlib.asynccontextmanager
async def opened(loaded: Loaded) -> AsyncIterator[Core]:
    """The core with an open store and no service running: for commands while no appliance runs.

    Raises FolderBusyError while another process has the data folder, StoreError when the store cannot be opened.
    """
    config = loaded.settings[CoreConfig]
    with FolderLock.take(config.data):
        store_config = loaded.settings[StoreConfig]
        store = Store.open(
            config.data,
            migrations=[step for _, step in loaded.dispatch.gather("migrations")],
            compress=store_config.compress,
            reserve_bytes=store_config.reserve_mib << 20,
        )
        await store.start()
        try:
            core = _core(loaded, store)
            try:
                yield core
            finally:
                await loaded.dispatch.settle()
                await core.trace.flush()
                core.auth.close()
        finally:
            await store.close()


async def run(loaded: Loaded, *, also: Sequence[Service] = ()) -> int:
    """Run the appliance until it is told to stop. Raises ConfigError before anything is half started.

    `also` are services that start last, when everything else is ready.
    """
    configure(loaded.settings[LogConfig])
    if problems := check(loaded):
        raise ConfigError(problems)
    for problem in exposed(loaded.settings):
        log.warning("%s %s", problem.text, problem.remedy)
    async with opened(loaded) as core:
        core.auth.get_ready()
        core.store.get_ready()
        if found := await demo.problems(core):
            raise ConfigError(found)
        services: list[Service] = [service for _, service in core.dispatch.gather("services", core=core)]
        calls = all_calls(core.dispatch)
        core.listeners = listeners = [service for service in services if isinstance(service, Listener)]
        try:
            _open_all(listeners)
            _trust(core.settings, listeners)
            core.certificates.load()
        except ConfigError as error:
            for listener in listeners:
                listener.close_sockets()
            raise ConfigError(core.settings.placed(error.problems)) from error
        if spare := close_spare({listener.name for listener in listeners}):
            log.info("no role serves %s, which systemd opened: closed", ", ".join(spare))
        data = core.settings[CoreConfig].data
        control = ControlServer(core, calls, data)
        parts: list[Service] = [core.trace, core.certificates, core.queue, *services, control, *also]
        supervisor = Supervisor(parts, notifier=Notifier())
        supervisor.on_reload(lambda: _reload(core, loaded, listeners))
        return await supervisor.run()


def _open_all(listeners: Sequence[Listener]) -> None:
    """Open what is configured and not open yet. Raises ConfigError with each address that failed."""
    problems = []
    for listener in listeners:
        try:
            listener.open_sockets()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _trust(settings: Settings, listeners: Sequence[Listener]) -> None:
    """Let every port believe the proxies that the configuration names."""
    proxies = TrustedProxies(settings[CoreConfig].proxy_networks, settings[CoreConfig].proxy_ports)
    for listener in listeners:
        listener.proxies = proxies


def _reload(core: Core, loaded: Loaded, listeners: Sequence[Listener]) -> bool:
    """Read the file again and take all of it over, or nothing: then each problem is a line in the log."""
    try:
        settings = _examined_again(core, loaded)
        _switch(core, settings, listeners)
    except ConfigError as error:
        for problem in error.problems:
            log.error("configuration not reloaded: %s", problem)
        return False
    configure(settings[LogConfig])
    if settings[CoreConfig].plugins != loaded.settings[CoreConfig].plugins:
        log.warning("plugins changed in %s: that takes a restart", loaded.path)
    return True


def _examined_again(core: Core, loaded: Loaded) -> Settings:
    """The file's settings, fit to be switched to. Raises ConfigError."""
    document = Document.read(loaded.path)
    named, _ = core_settings(document)
    settings, problems = read_settings(
        document,
        loaded.settings.sections,
        known=_tables_of_others(named),
        passed_over={name.split(".")[0] for name in named.plugins},  # those that wait for a restart
    )
    problems += _unsaid(problems, check(dataclasses.replace(loaded, settings=settings), running=True))
    if named.data != loaded.settings[CoreConfig].data:
        problems.append(settings.problem("data", "cannot change while palomar runs.", "Restart it."))
    elif demo.is_noted(settings) and (name := demo.reachable(settings)) and not demo.reachable(core.settings):
        text = "others could reach this address, and accounts may have the demo's password."
        problems.append(settings.problem(name, text, "Restart palomar, which looks at the accounts first."))
    if problems:
        raise ConfigError(problems)
    return settings


def _switch(core: Core, settings: Settings, listeners: Sequence[Listener]) -> None:
    """Put other settings in force, once all that can fail is made. Raises ConfigError, and all is as it was.

    It awaits nothing, so nobody sees the new settings before they stay.
    """
    before, core.settings = core.settings, settings
    try:
        _open_all(listeners)
        core.resolver.reload(settings[DnsConfig])
    except ConfigError as error:
        core.settings = before
        for listener in listeners:
            listener.close_unwanted()
        held = overlapping(before, settings)
        placed = settings.placed(error.problems)
        raise ConfigError(
            [dataclasses.replace(one, remedy=OVERLAP_REMEDY) if one.setting in held else one for one in placed]
        ) from error
    _trust(settings, listeners)
    core.intake.reload(settings[CoreConfig])
