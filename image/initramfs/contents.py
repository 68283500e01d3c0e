"""What the initramfs holds beside the kernel's early modules."""

from __future__ import annotations

from pathlib import Path

from image.bootstate import SLOTS, BootState, other

PROGRAMS = ("/usr/bin/busybox", "/usr/sbin/dmsetup", "/usr/sbin/e2fsck", "/usr/sbin/fsck.vfat")
"""Programs of the arm64 root; the libraries they need come with them."""


def files() -> dict[str, bytes]:
    """Path → content: our script, and for each slot the `boot.env` that puts it first because the other failed."""
    states = {f"boot-{slot}.env": BootState().give_up(other(slot)).encode() for slot in SLOTS}
    return {"init": Path(__file__).with_name("init").read_bytes(), **states}
