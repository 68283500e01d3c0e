"""The board table, and a kernel that does or does not drive a board."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from image.boards.boards import Board, BoardError, read_boards, undriven
from image.build.command import BuildError
from image.build.debian import Listed
from image.build.kernel import ModuleIndex, copy_module, unsupported

RP1 = "alias of:N*T*Craspberrypi,rp1-gem macb\n"
OTHERS = "alias pci:v00001DE4d00000001sv*sd*bc*sc*i* rp1\nalias of:N*T*Cbrcm,bcm2712-sdhci sdhci_brcmstb\n"


def kernel(tmp_path: Path, *, aliases: str = "", builtin: bytes = b"") -> Path:
    """A fake tree of a kernel package; what is returned is its root."""
    folder = tmp_path / "usr/lib/modules/6.99-arm64"
    folder.mkdir(parents=True)
    (folder / "modules.alias").write_text("# Aliases\n" + aliases)
    (folder / "modules.builtin.modinfo").write_bytes(builtin)
    return tmp_path


def board(name: str) -> Board:
    return next(each for each in read_boards() if each.name == name)


def test_the_boards_we_serve_are_listed() -> None:
    assert [each.name for each in read_boards()] == ["cm4", "pi3-plus", "pi3", "pi4", "pi400", "pi5", "zero2w"]
    assert all(each.needs and each.device_trees for each in read_boards())


def test_pi_5_is_refused_in_words_while_the_kernel_lacks_its_network(tmp_path: Path) -> None:
    root = kernel(tmp_path, aliases=OTHERS)
    assert unsupported(root, [board("pi5")]) == ["Raspberry Pi 5: kernel 6.99-arm64 has no driver for its Ethernet"]


def test_pi_5_is_served_by_a_kernel_that_drives_it(tmp_path: Path) -> None:
    assert unsupported(kernel(tmp_path, aliases=RP1 + OTHERS), [board("pi5")]) == []


def test_a_built_in_driver_counts(tmp_path: Path) -> None:
    root = kernel(tmp_path, aliases=OTHERS, builtin=b"macb.license=GPL\0macb.alias=of:N*T*Craspberrypi,rp1-gem\0")
    assert undriven(board("pi5"), root / "usr/lib/modules/6.99-arm64") == []


def test_a_wrong_table_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('title = "X"\nwheels = 4\n')
    with pytest.raises(BoardError, match=r"x\.toml.*wheels"):
        read_boards(tmp_path)
    (tmp_path / "x.toml").write_text("title = \n")
    with pytest.raises(BoardError, match=r"x\.toml"):
        read_boards(tmp_path)


def index(tmp_path: Path) -> ModuleIndex:
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz\n"
        "kernel/fs/jbd2/jbd2.ko.xz:\nkernel/lib/crc16.ko.xz:\nkernel/drivers/rtc/rtc-ds1307.ko.xz:\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/drivers/mmc/core/mmc_block.ko\n")
    return ModuleIndex.read(tmp_path)


def test_modules_bring_what_they_need(tmp_path: Path) -> None:
    listed = [Listed("root", "ext4", 1), Listed("root", "rtc_ds1307", 2), Listed("root", "mmc_block", 3)]
    assert index(tmp_path).closure(listed, "modules") == ["crc16", "ext4", "jbd2", "rtc_ds1307"]


def test_soft_dependencies_come_too_by_name_or_alias(tmp_path: Path) -> None:
    (tmp_path / "modules.softdep").write_text("# Soft\nsoftdep jbd2 pre: crypto-crc32c\nsoftdep ext4 post: none\n")
    (tmp_path / "modules.alias").write_text("alias crypto-crc32c rtc-ds1307\nalias of:N*T*Cx crc16\n")
    assert index(tmp_path).closure([Listed("root", "ext4", 1)], "modules") == ["crc16", "ext4", "jbd2", "rtc_ds1307"]


def test_a_module_that_is_nowhere_stops_the_build_unless_it_is_for_later(tmp_path: Path) -> None:
    assert index(tmp_path).closure([Listed("root", "later?", 7)], "modules") == []
    with pytest.raises(BuildError, match=r"modules:7: .*'never'"):
        index(tmp_path).closure([Listed("root", "never", 7)], "modules")


def test_modules_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"\x7fELF"))
    copy_module(tmp_path / "a.ko.xz", tmp_path / "deep/a.ko")
    assert (tmp_path / "deep/a.ko").read_bytes() == b"\x7fELF"
