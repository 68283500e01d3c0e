"""What happens at a start, in order. Nothing here stops the start: what goes wrong is told, and the rest goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable

from appliance.errors import ApplianceError, Problem
from image.firstboot import cardcheck, identity, reset, status, taken, unchanged
from image.firstboot.bootpart import BootPartError, BootPartition
from image.firstboot.durable import Disk
from image.firstboot.identity import Identity, RandomSource
from image.firstboot.places import STATUS_NAME, Places
from image.firstboot.status import NETWORK, Report
from image.firstboot.system import owner, read_json, show_led, tell_consoles

MAX_REWRITES = 20  # of the status file between two starts: a network that flaps must not wear the card
CARD = "card.json"


def firstboot(
    places: Places, disk: Disk, *, random: RandomSource = os.getrandom, tell: Callable[[str], None] | None = None
) -> Report:
    """Everything that comes before mail and network. Returns what it told."""
    say = tell or (lambda text: tell_consoles(places, f"Palomar: {text}\n"))
    part = BootPartition(places.boot, disk.done)
    failures: list[Problem] = []
    done: list[str] = []
    release = str(read_json(places.release).get("version", ""))
    is_first = not (places.state / taken.TAKEN).exists()
    if is_first:
        show_led(places, "setup")
    try:
        part.remove_leftovers()
        done, refused_reset = reset.perform(places, disk, part)
        failures += [Problem("reset", text, "Or remove the file.", reset.RESET_ALL) for text in refused_reset]
    except (BootPartError, OSError) as error:
        failures.append(_failure("reset", error))
    found = Identity("", "palomar", "")
    outcome = taken.Outcome(hostname="palomar.local")
    refused = ""
    try:
        _folders(places, disk)
        refused = _check_card(places, disk, random, say)
        found = identity.ensure(places, disk, say, random=random)
        outcome = taken.Outcome(hostname=f"{found.name}.local")
        _link_certificate(places, disk)
        outcome = taken.take(places, disk, part, found.name, release, say)
        if not outcome.certificate and (is_first or not status.fingerprint(places)):
            identity.ensure_certificate(places, outcome.hostname)
    except (ApplianceError, OSError) as error:
        failures.append(_failure("data", error))
    report = Report(found.name, release, found.setup_code, outcome, refused, tuple(failures), tuple(done))
    report = dataclasses.replace(report, fingerprint=status.fingerprint(places, outcome.certificate))
    report = dataclasses.replace(report, network=read_json(places.state / NETWORK))
    with contextlib.suppress(OSError):  # then the next start looks at everything again
        in_order = not (report.refused or report.failures or report.outcome.problems)
        (unchanged.keep if in_order else unchanged.forget)(places, disk)
    _announce(places, disk, part, report)
    return report


def status_file(places: Places, disk: Disk) -> Report | None:
    """Write the status file anew because the network has news. None where nothing is known yet."""
    remembered = read_json(places.runtime / "report.json")
    if not remembered:
        return None
    facts = status.network_facts(places)
    before = read_json(places.state / NETWORK)
    report = dataclasses.replace(_restored(remembered), network=facts, troubles=status.troubles(places))
    report = dataclasses.replace(report, fingerprint=status.fingerprint(places, report.outcome.certificate))
    if facts != before:
        with contextlib.suppress(OSError):  # a full disk: what is wrong must be told all the same
            disk.write(places.state / NETWORK, json.dumps(facts).encode(), 0o644)
    count = int(remembered.get("rewrites", 0))
    text = status.render(report)
    _remember(places, report, count)
    if count < MAX_REWRITES and BootPartition(places.boot, disk.done).write(STATUS_NAME, _for_windows(text)):
        _remember(places, report, count + 1)
        tell_consoles(places, f"\n{text}")
    return report


def _announce(places: Places, disk: Disk, part: BootPartition, report: Report) -> None:
    """Tell it on the card, on the consoles, to the network process and its LED."""
    failures = list(report.failures)
    try:
        if part.names():
            part.write(STATUS_NAME, _for_windows(status.render(report)))
    except BootPartError as error:
        failures.append(_failure("boot", error))
        report = dataclasses.replace(report, failures=tuple(failures))
    text = status.render(report)
    _remember(places, report, 0)
    notes = places.runtime / "notes"
    notes.mkdir(parents=True, exist_ok=True)
    lines = [f"error: This card is not used. {report.refused}"] if report.refused else []
    lines += [f"error: {problem}" for problem in (*report.failures, *report.outcome.problems)]
    lines += [f"info: {note}" for note in report.outcome.notes]
    (notes / "firstboot").write_text("".join(f"{' '.join(line.split())}\n" for line in lines))
    (places.runtime / "console.txt").write_text(text)
    flags = {"refused": report.refused, "card-ok": "" if report.refused else "The card keeps what is written to it."}
    for name, words in flags.items():
        (places.runtime / name).unlink(missing_ok=True)
        if words:
            (places.runtime / name).write_text(f"{words}\n")
    _localize(places)
    tell_consoles(places, f"\n{text}")
    if lines:
        show_led(places, "degraded")


def _folders(places: Places, disk: Disk) -> None:
    mail_user = owner(places)
    readable = (0, mail_user[1]) if mail_user else None
    for path, mode, whose in (  # as rootfs/usr/lib/tmpfiles.d/palomar.conf has them
        (places.config, 0o750, readable),
        (places.state, 0o755, None),
        (places.data / "hw", 0o755, None),
        (places.data / "log", 0o750, readable),
        (places.mail, 0o700, mail_user),
    ):
        disk.folder(path, mode, whose)


def _check_card(places: Places, disk: Disk, random: RandomSource, tell: Callable[[str], None]) -> str:
    """Whether the card is what it says, asked as long as the data partition has not grown."""
    room = cardcheck.room_behind(places.data, places.sysfs, places.dev)
    if room is None or room.size < cardcheck.MIN_ROOM:
        return ""
    known = read_json(places.state / CARD)
    if known.get("size") == room.end and known.get("refused") == "":
        return ""  # this card was asked before; what is left behind the partition stays as it is
    words = cardcheck.verdict(room, key=random(16, 0), tell=tell)
    disk.write(places.state / CARD, json.dumps({"size": room.end, "refused": words}).encode(), 0o644)
    return words


def _link_certificate(places: Places, disk: Disk) -> None:
    """Let the mail process keep its key where a reset of settings and mail does not reach it."""
    link = places.mail / "tls"
    if link.is_dir() and not link.is_symlink():
        return  # from before; it stays where it is
    disk.link(link, os.path.relpath(places.identity / "tls", places.mail))


def _localize(places: Places) -> None:
    """Set time zone and locale, which lie in memory: /etc is new at each start."""
    setup = read_json(places.config / taken.SETUP)
    zone = places.zoneinfo / str(setup.get("time_zone") or "UTC")
    try:
        if zone.is_file():
            link = places.etc / "localtime"
            link.unlink(missing_ok=True)
            link.symlink_to(zone)
        locale = f"{str(setup.get('locale') or 'C').removesuffix('.UTF-8')}"
        if (places.locales / f"{locale}.utf8").is_dir():
            (places.etc / "locale.conf").write_text(f"LANG={locale}.UTF-8\n")
    except OSError as error:
        tell_consoles(places, f"Palomar: time zone and language cannot be set: {error.strerror}\n")


def _for_windows(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def _failure(what: str, error: Exception) -> Problem:
    remedy = getattr(error, "remedy", "") or "If it happens again, write the image to another card."
    words = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
    return Problem(what, f"{words}.", remedy)


def _remember(places: Places, report: Report, rewrites: int) -> None:
    """Keep the report in memory for `status-file`."""
    places.runtime.mkdir(parents=True, exist_ok=True)
    draft = places.runtime / "report.json.new"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"report": dataclasses.asdict(report), "rewrites": rewrites}, file)
    shutil.move(draft, places.runtime / "report.json")


def _restored(remembered: dict[str, object]) -> Report:
    fields = remembered["report"]
    assert isinstance(fields, dict)
    outcome = taken.recalled({"outcome": fields["outcome"]})
    failures = tuple(Problem(**one) for one in fields["failures"])
    return Report(
        **{**fields, "outcome": outcome, "failures": failures, "resets": tuple(fields["resets"]), "troubles": ()}
    )
