"""What the initramfs holds besides kernel modules. The build copies programs with their libraries."""

from __future__ import annotations

from pathlib import Path

from image.bootstate import SLOTS, BootState, other

PROGRAMS = ("/usr/bin/busybox", "/usr/sbin/dmsetup", "/usr/sbin/e2fsck")

# What no device asks for by itself; loaded in this order, what each depends on first.
MODULES = ("dm_mod", "sha2_ce", "sha256_arm64", "dm_verity", "erofs", "overlay", "ext4", "nls_ascii", "nls_utf8", "vfat")

_HERE = Path(__file__).parent


def files() -> dict[str, bytes]:
    """Path → content. Those beginning with `#!` are executable.

    `boot-A.env` and `boot-B.env` make that slot the first one: the shell cannot compute their checksum.
    """
    states = {f"boot-{slot}.env": BootState().give_up(other(slot)).encode() for slot in SLOTS}
    return {"init": (_HERE / "init").read_bytes(), "modules": "\n".join((*MODULES, "")).encode(), **states}
