"""Steps: the boot partition, the seed of the data partition, and the whole card."""

from __future__ import annotations

import uuid
from pathlib import Path

from image import bootstate
from image.boards.boards import read_boards
from image.build.command import BuildError
from image.build.slot import make_fat
from image.build.verity import NAMESPACE, SLOT_SIZE, version
from image.build.work import Work

BOOT_SIZE = 128 << 20
BOOT_LABEL = "PALOMAR"
DATA_SIZE = 64 << 20
DATA_LABEL = "palomar-data"
DISK_ID = "0x50414c4f"  # "PALO": the partitions' identifiers come from it
ALIGN = 4 << 20
FIRMWARE = "usr/lib/raspi-firmware"
U_BOOT = "usr/lib/u-boot/rpi_arm64/u-boot.bin"
BOOTLOADER = "image/bootloader"
TEMPLATE = "image/firstboot/palomar.toml"

# Folders of the data partition are made at the first start; what is tuned here cannot be tuned later.
_DATA_OPTIONS = (
    *("-t", "ext4", "-b", "4096", "-i", "32768", "-J", "size=8", "-m", "1", "-L", DATA_LABEL),
    *("-O", "metadata_csum,64bit"),
)
_DATA_EXTENDED = "resize=67108864,lazy_itable_init=0,lazy_journal_init=0"


def make_boot(work: Work, output: Path) -> None:
    """`boot.img`: the FAT partition that every computer can read, with the first stages of all boards."""
    parts = work["parts"] / "root"
    loader = work.checkout / BOOTLOADER
    script = output / "boot.scr"
    work.tools.run(
        "mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-n", "Palomar", "-d", loader / "boot.cmd", script,
        env=work.environment,
    )  # fmt: skip
    files = {
        "boot.scr": script.read_bytes(),
        "boot.env": bootstate.BootState().encode(),
        "config.txt": (loader / "config.txt").read_bytes(),
        "u-boot.bin": (parts / U_BOOT).read_bytes(),
        "palomar.toml": (work.checkout / TEMPLATE).read_bytes(),
    }
    for board in read_boards(work.checkout / "image/boards"):
        for name in board.firmware:
            files[name] = _read(parts / FIRMWARE / name, board.title)
        for name in board.device_trees:
            # The firmware patches the one it finds here (memory, addresses) and U-Boot passes it on.
            files[name] = _read(work["kernel"] / "dtb" / name, board.title)
    make_fat(work, output / "boot.img", BOOT_SIZE, BOOT_LABEL, files)


def _read(path: Path, board: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BuildError(f"{board}: the packages have no {path.name}") from None


def make_data(work: Work, output: Path) -> None:
    """`data.img`: an empty ext4 that grows to the end of the card at the first start."""
    image = output / "data.img"
    with image.open("wb") as file:
        file.truncate(DATA_SIZE)
    seed = uuid.uuid5(NAMESPACE, DATA_LABEL)
    extended = f"{_DATA_EXTENDED},hash_seed={uuid.uuid5(NAMESPACE, 'hash')}"
    environment = {**work.environment, "E2FSPROGS_FAKE_TIME": str(work.epoch)}
    work.tools.run("mke2fs", "-q", "-F", *_DATA_OPTIONS, "-E", extended, "-U", str(seed), image, env=environment)


def make_whole(work: Work, output: Path) -> None:
    """`palomar-VERSION-arm64.img`, sparse: boot, slot A, an empty slot B, data."""
    name = f"palomar-{version(work.checkout)}-arm64.img"
    config = output / "genimage.cfg"
    config.write_text(layout(name, work))
    empty, scratch = output / "empty", output / "scratch"
    empty.mkdir()
    places = [f"--rootpath={empty}", f"--tmppath={scratch}", "--inputpath=/", f"--outputpath={output}"]
    path = f"{work.tools.folder}/usr/bin:{work.tools.folder}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    work.tools.run("genimage", f"--config={config}", *places, env={**work.environment, "PATH": path})
    empty.rmdir()
    if scratch.exists():
        scratch.rmdir()


def layout(name: str, work: Work) -> str:
    """What genimage is told. Slot B gets its place and nothing else; it is filled by the first update."""
    return f"""image {name} {{
    hdimage {{
        partition-table-type = mbr
        disk-signature = {DISK_ID}
        align = {ALIGN}
    }}
    partition boot {{
        partition-type = 0x0c
        bootable = true
        image = {work["boot"] / "boot.img"}
        size = {BOOT_SIZE}
    }}
    partition slot-a {{
        partition-type = 0x0c
        image = {work["slot"] / "slot.img"}
        size = {SLOT_SIZE}
    }}
    partition slot-b {{
        partition-type = 0x0c
        size = {SLOT_SIZE}
    }}
    partition data {{
        partition-type = 0x83
        image = {work["data"] / "data.img"}
        size = {DATA_SIZE}
    }}
}}
"""
