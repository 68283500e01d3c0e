"""What can be known to go wrong before anything is started: ports, certificates, folders."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from appliance.config import Bind, CoreConfig, Settings
from appliance.errors import Problem
from appliance.listener import inherited_sockets

OPEN_TO_OTHERS = 0o027  # a group may read where an administrator has chosen one, for backups


def preflight(settings: Settings, *, ports: bool = True) -> list[Problem]:
    """Every problem a start would meet. With `ports`, addresses are tried out; without, only compared."""
    folder = _data_folder(settings) if any(section.cls is CoreConfig for section in settings.sections) else ()
    return [*_claimed_twice(settings), *(_taken(settings) if ports else ()), *folder]


def exposed(settings: Settings) -> Iterator[Problem]:
    """Tell when others can look into the data folder. No start fails for it: the files are private in themselves."""
    data = settings[CoreConfig].data
    mode = data.stat().st_mode & 0o777 if data.is_dir() else 0
    if mode & OPEN_TO_OTHERS:
        text = f"others can look into {data}, or change what is there: its mode is {mode:04o}."
        yield settings.problem("data", text, f"Type: chmod 700 {data}")


def binds(settings: Settings) -> Iterator[tuple[str, Bind]]:
    """Every address to listen on in any section, with the dotted name of its setting."""
    for section in settings.sections:
        value: object = settings[section.cls]
        for field in dataclasses.fields(section.cls):
            item: object = getattr(value, field.name)
            name = f"{section.name}.{field.name}" if section.name else field.name
            for bind in item if isinstance(item, tuple) else (item,):
                if isinstance(bind, Bind):
                    yield name, bind


def _overlap(one: Bind, other: Bind) -> bool:
    if one.is_unix or other.is_unix:
        return one == other
    if one.port != other.port:
        return False
    return one.host == other.host or "" in {one.host, other.host} or _covers(one, other) or _covers(other, one)


def _covers(wide: Bind, narrow: Bind) -> bool:
    return (wide.host == "0.0.0.0" and ":" not in narrow.host) or (wide.host == "::" and ":" in narrow.host)


def overlapping(before: Settings, after: Settings) -> set[str]:
    """The settings with new addresses that cannot be opened beside those that are open now: wider, or another's."""
    old = list(binds(before))
    return {
        name for name, bind in binds(after) if any(_overlap(bind, one) and (name, bind) != (n, one) for n, one in old)
    }


def _claimed_twice(settings: Settings) -> Iterator[Problem]:
    seen: list[tuple[str, Bind]] = []
    for name, bind in binds(settings):
        for other_name, other in seen:
            if _overlap(bind, other):
                text = f"{bind} is claimed by {other_name} too."
                yield settings.problem(name, text, "Give one of them another port.")
                break
        seen.append((name, bind))


def _taken(settings: Settings) -> Iterator[Problem]:
    handed_over = {
        sock.getsockname()[1] for sockets in inherited_sockets().values() for sock in sockets if _is_tcp(sock)
    }
    tried: set[Bind] = set()
    for name, bind in binds(settings):
        if bind.port in handed_over:
            continue  # systemd holds it for us
        if bind.is_unix or bind in tried or any(_overlap(bind, one) for one in tried):
            continue
        tried.add(bind)
        try:
            _try_out(bind)
        except OSError as error:
            yield settings.problem(name, f"cannot listen on {bind}: {error.strerror}.", _remedy(error))


def _is_tcp(sock: socket.socket) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def _try_out(bind: Bind) -> None:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((bind.host, bind.port))
        sock.listen(1)


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "Stop the program that holds it, or choose another port."
    if error.errno == errno.EACCES:
        return "Ports below 1024 need the right to bind them; choose a higher one or start by systemd."
    return "Use an address that this machine has."


def _data_folder(settings: Settings) -> Iterator[Problem]:
    data = settings[CoreConfig].data
    existing: Path = data
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        yield settings.problem("data", f"{existing} is no folder.", "Name another folder.")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield settings.problem(
            "data", f"{existing} cannot be written by this user.", f"Try: chown {os.getuid()} {existing}"
        )
