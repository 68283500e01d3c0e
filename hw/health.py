"""From what is known about board and network to how it is, in a pattern of the LED and in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.timestate import WORDS as TIME_WORDS
from hw.leds import Pattern
from hw.messages import AddressState, Level, NicState, State, UplinkState
from hw.storage import WORDS as STORAGE_WORDS

Line = tuple[str, str, Level]
"""Label, value, and how bad that is."""

_SOURCES = {
    "static": "as configured",
    "dhcp": "by DHCP",
    "ra": "by the router",
    "link-local": "link-local",
    "other": "",
}


def pattern(state: State, *, mail_is_well: bool) -> Pattern:
    """What the LED shows. A machine without a way out is not well, even if nothing of its own is broken."""
    if not state.settled:
        return "setup"
    calm = all(note.level == "info" for note in state.notes)
    return "healthy" if calm and mail_is_well and any(one.alive for one in state.uplinks) else "degraded"


def lines(state: State) -> Iterator[Line]:
    """The whole state, a line for each thing, the notes last."""
    yield "Board", _board(state), "info"
    for nic in state.nics:
        yield nic.name, _nic(nic, state), "info"
    yield from _ways_out(state)
    yield "DNS", _dns(state), "info" if state.dns else "warning"
    if state.mdns_name:
        yield "Name", state.mdns_name, "info"
    yield "Time", _time(state), "info" if state.time_state == "synced" else "warning"
    if state.storage is not None:
        yield "Storage", _storage(state), "error" if state.storage.read_only else "info"
    for note in state.notes:
        yield f"Note ({note.source})", note.text, note.level


def addresses(state: State) -> list[str]:
    """The addresses that others can reach this machine by, without prefix lengths; link-local ones only if alone."""
    usable = [one for one in state.addresses if one.usable]
    wide = [one for one in usable if one.source != "link-local" and not one.address.startswith("fe80:")]
    return [one.address.partition("/")[0] for one in wide or usable]


def _board(state: State) -> str:
    board, vitals = state.board, state.vitals
    parts = [board.model]
    if board.memory_mib:
        parts.append(f"{board.memory_mib} MiB")
    if vitals.temperature_c is not None:
        parts.append(f"{vitals.temperature_c:.0f} °C")
    parts.append(_power(state))
    return ", ".join(part for part in parts if part)


def _power(state: State) -> str:
    vitals = state.vitals
    if not vitals.known:
        return "power supply not told by this kernel" if state.board.family.startswith("pi") else ""
    if vitals.undervoltage:
        return "under-voltage now"
    return "under-voltage since the start" if vitals.undervoltage_seen else "power supply good"


def _nic(nic: NicState, state: State) -> str:
    own = ", ".join(_address(one) for one in state.addresses if one.nic == nic.name) or "no address"
    what = nic.words or nic.kind
    radio = f", {nic.ssid} at {nic.signal_dbm} dBm" if nic.ssid and nic.signal_dbm is not None else ""
    return f"{what}{radio}; {own}{f'; {nic.mac}' if nic.mac else ''}"


def _address(one: AddressState) -> str:
    source = _SOURCES[one.source]
    usable = "" if one.usable else ", not usable: somebody else has it, or that is being found out"
    return f"{one.address}{f' {source}' if source else ''}{usable}"


def _ways_out(state: State) -> Iterator[Line]:
    if not state.uplinks:
        words = "none: no interface has a router" if state.settled else "being set up"
        yield "Way out", words, "warning" if state.settled else "info"
    alive = any(one.alive for one in state.uplinks)
    for one in state.uplinks:
        yield "Way out", _uplink(one), "info" if alive else "warning"


def _uplink(one: UplinkState) -> str:
    routers = " and ".join(router for router in (one.gateway, one.gateway6) if router) or "no router"
    place = "in use" if one.active else "ready" if one.alive else "down"
    return f"{one.nic} by {routers}, metric {one.metric}: {place}{f' ({one.reason})' if one.reason else ''}"


def _dns(state: State) -> str:
    search = f"; names without a dot are looked up in {', '.join(state.search)}" if state.search else ""
    return f"{', '.join(state.dns) or 'no resolver is known'}{search}"


def _time(state: State) -> str:
    servers = f"; asks {', '.join(state.ntp)}" if state.ntp else ""
    return f"{TIME_WORDS[state.time_state]}{servers}"


def _storage(state: State) -> str:
    storage = state.storage
    assert storage is not None
    parts = [f"{STORAGE_WORDS[storage.kind]} {storage.name}".strip()]
    parts.append(f"{storage.free_bytes >> 20} MiB free of {storage.size_bytes >> 20}")
    if storage.life_percent_used is not None:
        parts.append(f"{storage.life_percent_used} % of its life used")
    parts.append(f"{storage.written_bytes >> 20} MiB written since the start")
    parts.append("READ-ONLY" if storage.read_only else f"{storage.errors} errors" if storage.errors else "no errors")
    return ", ".join(parts)
