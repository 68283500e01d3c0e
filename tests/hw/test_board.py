"""Boards are recognized from the files of the kernel and the firmware, whatever is missing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.board import UNKNOWN_MODEL, ask_mailbox, family_of, memory_of, read_board, read_vitals, vitals_of
from hw.messages import Vitals
from tests.hw.boards import SAMPLES, Sample, make, write


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_board_is_recognized(sample: Sample, tmp_path: Path) -> None:
    board = read_board(make(sample, tmp_path))
    assert (board.model, board.family, board.memory_mib) == (sample.model, sample.family, sample.memory_mib)
    assert board.revision == (f"{sample.revision:x}" if sample.revision else "")
    assert board.serial == ("10000000abcdef01" if sample.revision else "")
    assert board.has_rtc == sample.rtc
    assert board.has_wifi == any(port.wifi for port in sample.ports)


def test_nothing_at_all_is_an_unknown_board(tmp_path: Path) -> None:
    board = read_board(tmp_path)
    assert (board.model, board.family, board.memory_mib, board.serial) == (UNKNOWN_MODEL, "unknown", 0, "")
    assert read_vitals(tmp_path) == Vitals()


@pytest.mark.parametrize(
    ("revision", "family", "memory"),
    [
        (0x0000, "unknown", 0),
        (0x000E, "unknown", 0),  # old style: a Pi 1, which is not ours
        (0xA01041, "pi2", 1024),
        (0xA02082, "pi3", 1024),
        (0x9020E0, "pi3a-plus", 512),
        (0xA020D3, "pi3-plus", 1024),
        (0x902120, "zero2w", 512),
        (0xA03111, "pi4", 1024),
        (0xB03112, "pi4", 2048),
        (0xC03112, "pi4", 4096),
        (0xD03114, "pi4", 8192),
        (0xC03130, "pi400", 4096),
        (0xD03140, "cm4", 8192),
        (0xC04170, "pi5", 4096),
        (0xE04171, "pi5", 16384),
        (0xD04190, "pi500", 8192),
        (0xC041A0, "cm5", 4096),
        (0x1000000 | 0xA020D3, "pi3-plus", 1024),  # warranty bit of overclocked boards
    ],
)
def test_revision_codes(revision: int, family: str, memory: int) -> None:
    assert (family_of(revision), memory_of(revision)) == (family, memory)


@given(st.integers(0, 2**32 - 1))
def test_any_revision_code_is_some_family(revision: int) -> None:
    assert family_of(revision)
    assert memory_of(revision) in {0, *(256 << shift for shift in range(8))}


def test_a_newer_board_is_known_by_its_device_tree() -> None:
    unknown_type = 0xA00000 | 0xFE << 4
    assert family_of(unknown_type, ("raspberrypi,5-model-b",)) == "pi5"
    assert family_of(unknown_type, ("raspberrypi,6-model-b", "brcm,bcm9999")) == "unknown"


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 3, b"\x00" * 5])
def test_a_revision_of_another_length_is_none(content: bytes, tmp_path: Path) -> None:
    write(tmp_path, "proc/device-tree/system/linux,revision", content)
    assert read_board(tmp_path).revision == ""


def test_nonsense_in_the_files_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", "Revision : zzzz\nno colon\n: \n")
    write(tmp_path, "proc/meminfo", "MemTotal:\nMemTotal: many kB\n")
    write(tmp_path, "proc/device-tree/model", b"\xff\xfe\0")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "hot\n")
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "what\n")
    board = read_board(tmp_path)
    assert (board.revision, board.memory_mib) == ("", 0)
    assert read_vitals(tmp_path) == Vitals()


# ── vitals ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_processor_is_the_thermal_zone_that_counts(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "rp1_adc\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "61000\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/type", "cpu-thermal\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "48312\n")
    assert read_vitals(tmp_path).temperature_c == 48.312


def test_frost_is_a_temperature(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "-4500\n")
    assert read_vitals(tmp_path).temperature_c == -4.5


@pytest.mark.parametrize(
    ("word", "flags"),
    [
        (0x0, set()),
        (0x1, {"undervoltage"}),
        (0x2, {"frequency_capped"}),
        (0x4, {"throttled"}),
        (0x8, {"hot"}),
        (0x10000, {"undervoltage_seen"}),
        (0x50005, {"undervoltage", "undervoltage_seen", "throttled", "throttled_seen"}),
        (0xE0000, {"frequency_capped_seen", "throttled_seen", "hot_seen"}),
    ],
)
def test_the_firmware_word_is_decoded(word: int, flags: set[str], tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{word:x}\n")
    vitals = read_vitals(tmp_path)
    assert vitals == vitals_of(word)
    assert vitals.known
    names = [name for name in vitals.__struct_fields__ if name not in {"temperature_c", "known"}]
    assert {name for name in names if getattr(vitals, name)} == flags


@pytest.mark.parametrize(("alarm", "low"), [("0", False), ("1", True)])
def test_without_the_firmware_file_the_alarm_tells(alarm: str, low: bool, tmp_path: Path) -> None:
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", f"{alarm}\n")
    assert read_vitals(tmp_path) == Vitals(known=True, undervoltage=low, undervoltage_seen=low)


def test_the_mailbox_is_asked_by_the_property_interface() -> None:
    asked = []

    def firmware(message: bytearray) -> None:
        asked.append(bytes(message))
        struct.pack_into("=I", message, 4, 0x8000_0000)
        struct.pack_into("=I", message, 20, 0x50005)

    assert ask_mailbox(firmware) == 0x50005
    assert struct.unpack("=7I", asked[0]) == (28, 0, 0x30046, 4, 0, 0, 0)


def test_a_mailbox_that_does_not_know_says_nothing() -> None:
    def refuses(message: bytearray) -> None:
        struct.pack_into("=I", message, 4, 0x8000_0001)

    def fails(message: bytearray) -> None:
        raise OSError(25, "not a typewriter")

    assert ask_mailbox(refuses) is None
    assert ask_mailbox(fails) is None


def test_a_file_in_place_of_the_mailbox_is_no_mailbox(tmp_path: Path) -> None:
    write(tmp_path, "dev/vcio", "")
    assert read_vitals(tmp_path) == Vitals()
