"""`palomar-boot`: firstboot, status-file, write, reset."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ApplianceError
from image.firstboot.bootpart import BootPartition
from image.firstboot.durable import Disk
from image.firstboot.places import Places

MAX_WRITE = 4 * 1024 * 1024  # octets of a file for the boot partition


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 1 when it could not be done at all."""
    options = _parser().parse_args(arguments)
    places = Places()
    for name in ("boot", "data", "run", "etc"):
        if (folder := getattr(options, name)) is not None:
            places = dataclasses.replace(places, **{name: folder})
    os.umask(0o022)
    try:
        return int(options.command(places, options))
    except (ApplianceError, OSError) as error:
        sys.stderr.write(f"palomar-boot: {error}\n")
        if remedy := getattr(error, "remedy", ""):
            sys.stderr.write(f"  remedy: {remedy}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="palomar-boot", description="What comes before mail and network.")
    for name in ("boot", "data", "run", "etc"):
        parser.add_argument(f"--{name}", type=Path, help="another folder than usual")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("firstboot", help="take over what is on the card").set_defaults(command=_firstboot)
    commands.add_parser("status-file", help="write PALOMAR-STATUS.txt anew").set_defaults(command=_status_file)
    write = commands.add_parser("write", help="put standard input into a file of the boot partition")
    write.add_argument("file")
    write.set_defaults(command=_write)
    reset = commands.add_parser("reset", help="reset to the factory's state at the next start")
    reset.add_argument("--all", action="store_true", help="the machine's identity as well, and all mail")
    reset.add_argument("--delete-all-mail", action="store_true", help="mail as well")
    reset.set_defaults(command=_reset)
    return parser


def _firstboot(places: Places, options: argparse.Namespace) -> int:
    from image.firstboot.boot import firstboot
    from image.firstboot.status import render

    sys.stdout.write(render(firstboot(places, Disk())))
    return 0


def _status_file(places: Places, options: argparse.Namespace) -> int:
    from image.firstboot.boot import status_file

    status_file(places, Disk())
    return 0


def _write(places: Places, options: argparse.Namespace) -> int:
    if options.file in {"", ".", ".."} or "/" in options.file:
        sys.stderr.write("palomar-boot: FILE is a name in the top folder of the boot partition\n")
        return 1
    data = sys.stdin.buffer.read(MAX_WRITE + 1)
    if len(data) > MAX_WRITE:
        sys.stderr.write(f"palomar-boot: more than {MAX_WRITE >> 20} MiB\n")
        return 1
    BootPartition(places.boot).write(options.file, data)
    return 0


def _reset(places: Places, options: argparse.Namespace) -> int:
    from image.firstboot.reset import MAIL_WORDS, RESET, RESET_ALL

    if options.all and not options.delete_all_mail:
        sys.stderr.write("palomar-boot: --all deletes all mail; if that is meant, add --delete-all-mail\n")
        return 1
    text = f"{MAIL_WORDS}\n" if options.delete_all_mail else ""
    BootPartition(places.boot).write(RESET_ALL if options.all else RESET, text.encode())
    sys.stdout.write("It is done at the next start.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
