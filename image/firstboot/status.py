"""`PALOMAR-STATUS.txt`: what the appliance tells whoever takes the card out, or looks at the console.

Nothing in it changes by itself from start to start: no times, no temperatures. So the file is written only when there
is news, and flash is spared.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import Problem
from image.firstboot.places import CONFIG_NAME, Places
from image.firstboot.system import read_json
from image.firstboot.taken import Outcome

NETWORK = "network.json"  # what palomar-hw last told, on the data partition
MAX_ADDRESSES = 32
MAX_TROUBLES = 10
_PEM_HEADER, _PEM_FOOTER = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Report:
    """All that the file tells."""

    name: str
    release: str
    setup_code: str
    outcome: Outcome
    refused: str = ""  # why this card is not used
    failures: tuple[Problem, ...] = ()  # of first boot itself
    resets: tuple[str, ...] = ()
    fingerprint: str = ""
    network: Mapping[str, Any] | None = None
    troubles: tuple[str, ...] = ()  # what palomar-hw finds wrong with the board, now


def render(report: Report) -> str:
    """The text, with Unix line ends."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    network = report.network or {}
    outcome = report.outcome
    problems = (*report.failures, *outcome.problems)
    yield f"Palomar {report.release}".rstrip()
    yield "This file is written by the appliance; changing it changes nothing."
    yield ""
    if report.refused:
        yield f"State:        THIS CARD IS NOT USED. {report.refused}"
    elif problems or report.troubles:
        yield f"State:        needs your attention, see below ({len(problems) + len(report.troubles)})"
    else:
        yield "State:        in order"
    yield f"Name:         {local_name(report)}"
    yield f"Host name:    {outcome.hostname or report.name}"
    addresses = network.get("addresses") or ["none yet; is the cable plugged in?"]
    yield f"Addresses:    {addresses[0]}"
    yield from (f"              {one}" for one in addresses[1:])
    for place, mac in enumerate(network.get("macs") or ()):
        yield f"{'MAC:' if not place else '':14}{mac}"
    yield f"Certificate:  SHA-256 {report.fingerprint or 'not made yet'}"
    yield f"Setup code:   {report.setup_code}"
    yield f"SSH:          {'on for admin, by key' if outcome.has_ssh else 'off'}"
    if outcome.accounts:
        yield f"Accounts:     {', '.join(outcome.accounts)}"
    if problems or report.troubles:
        yield "\nWhat is wrong"
        yield from (f"* {trouble}" for trouble in report.troubles)
        for problem in problems:
            yield f"* {_place(problem)}{problem.text}\n    {problem.remedy}"
        if outcome.problems and outcome.configured:
            yield "Until it is corrected, the last good configuration stays in force."
    for heading, lines in (("Done at your wish", report.resets), ("Passed over", outcome.notes)):
        if lines:
            yield f"\n{heading}"
            yield from (f"* {line}" for line in lines)
    if outcome.blanked:
        yield "\nPasswords"
        yield "They were moved to the data partition; marks stand in their place. That does not erase them from the"
        yield "card's flash: whoever finds the card may read them. Use hashes (palomar account hash), or change them."
    yield "\nNext step"
    yield _next_step(report, problems)


def local_name(report: Report) -> str:
    """The name in the local network."""
    told = str((report.network or {}).get("mdns_name") or "")
    return told or f"{(report.outcome.hostname or report.name).partition('.')[0]}.local"


def _place(problem: Problem) -> str:
    place = f"{problem.file}, line {problem.line}: " if problem.line else f"{problem.file}: " if problem.file else ""
    return f"{place}[{problem.setting}] " if problem.file else ""


def _next_step(report: Report, problems: tuple[Problem, ...]) -> str:
    outcome = report.outcome
    if report.refused:
        return "Write the image to another card, from a shop that you trust, and put it into the board."
    if problems:
        return "Switch off, put the card into a computer, correct what is said above, and start again."
    if not outcome.configured or not outcome.accounts:
        return (
            f"Switch off, put the card into a computer, and fill in hostname, domains and [[setup.accounts]] in\n"
            f"{CONFIG_NAME}; or make accounts by SSH: palomar account add ana@example.org."
        )
    return (
        f"Set up a mail program: server {local_name(report)}, IMAP port 993, sending port 465, both with TLS; it asks\n"
        "about the certificate once: compare its fingerprint with the one above."
    )


def fingerprint(places: Places, certificate: str = "") -> str:
    """SHA-256 of the certificate that mail programs see, in pairs of digits; empty while there is none."""
    path = Path(certificate) if certificate else places.identity / "tls/self-signed.pem"
    try:
        text = path.read_text()
        start, end = text.index(_PEM_HEADER) + len(_PEM_HEADER), text.index(_PEM_FOOTER)
        digest = hashlib.sha256(base64.b64decode(text[start:end])).hexdigest().upper()
    except (OSError, ValueError):
        return ""
    return ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))


def troubles(places: Places) -> tuple[str, ...]:
    """What palomar-hw calls an error now, but for what first boot itself has told it."""
    notes = read_json(places.run / "palomar-hw/state.json").get("notes")
    found = [one for one in notes if isinstance(one, dict)] if isinstance(notes, list) else []
    told = (
        str(one.get("text", "")) for one in found if one.get("level") == "error" and one.get("source") != "firstboot"
    )
    return tuple(sorted(text for text in told if text))[:MAX_TROUBLES]


def network_facts(places: Places) -> dict[str, Any]:
    """What palomar-hw tells now, if that is worth keeping; else what it told last."""
    kept = read_json(places.state / NETWORK)
    state = read_json(places.run / "palomar-hw/state.json")
    if not state.get("settled"):
        return kept
    told = [one for one in state.get("addresses", ()) if isinstance(one, dict) and one.get("usable", True)]
    addresses = sorted(
        f"{str(one.get('address', '')).partition('/')[0]} ({one.get('nic', '')})"
        for one in told[:MAX_ADDRESSES]
        if not str(one.get("address", "")).startswith(("127.", "::1/"))
    )
    if not addresses:
        return kept  # a pulled cable is no news for somebody with the card in the hand
    macs = sorted(
        f"{one['mac']} ({one.get('name', '')})"
        for one in state.get("nics", ())
        if isinstance(one, dict) and one.get("mac") and one.get("kind") in {None, "ethernet", "wifi"}
    )
    return {"addresses": addresses, "macs": macs, "mdns_name": str(state.get("mdns_name", ""))}
