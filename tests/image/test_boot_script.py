"""Where three files must say the same: the boot script, the initramfs and the format of `boot.env`."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

import image
from hw.leds import STEPS_MS
from image import bootstate
from image.build.whole import DISK_ID
from image.initramfs import contents

FOLDER = Path(image.__file__).parent
SCRIPT = (FOLDER / "bootloader/boot.cmd").read_text()
ADDRESSES = ("kernel_addr_r", "ramdisk_addr_r", "kernel_comp_addr_r")
INIT = FOLDER / "initramfs/init"


def test_the_script_takes_each_name_of_boot_env_and_writes_each() -> None:
    names = re.findall(rb"(palomar_\w+)=", bootstate.BootState().encode())
    assert names
    for command in ("env import -c", "env export -c"):
        (line,) = re.findall(rf"{command}.*?(palomar_[\w ]+)", SCRIPT)
        assert line.split() == [name.decode() for name in names]
    assert f"{bootstate.SIZE:#x}" in SCRIPT


def test_the_initramfs_looks_for_the_disk_that_is_built() -> None:
    assert f"DISK_ID={DISK_ID.removeprefix('0x')} " in INIT.read_text()


def test_a_slot_that_fails_hands_over_to_the_other() -> None:
    files = contents.files()
    for slot in bootstate.SLOTS:
        state = bootstate.decode(files[f"boot-{slot}.env"])
        assert (state.first, state.gave_up) == (slot, bootstate.other(slot))


def test_the_init_script_is_a_shell_script() -> None:
    subprocess.run(["sh", "-n", INIT], check=True)


@pytest.mark.parametrize("name", ["ACT", "led0", "green:act", "mmc0::", ""])
def test_where_nothing_can_be_started_the_led_says_rescue(name: str, tmp_path: Path) -> None:
    led = tmp_path / "sys/class/leds" / name
    led.mkdir(parents=True)
    for file in ("trigger", "delay_on", "delay_off"):
        (led / file).write_text("none")
    function = re.search(r"^show_rescue\(\) \{.*?^\}$", INIT.read_text(), re.DOTALL | re.MULTILINE)
    assert function is not None
    script = f"modprobe() {{ :; }}\n{function[0].replace('/sys/', f'{tmp_path}/sys/')}\nshow_rescue\n"
    done = subprocess.run(["sh", "-eu"], input=script, text=True, check=True, capture_output=True)
    assert not done.stderr
    told = [(led / file).read_text().strip() for file in ("trigger", "delay_on", "delay_off")]
    is_the_board_s = name in {"ACT", "led0", "green:act"}
    assert told == (["timer", *map(str, STEPS_MS["rescue"])] if is_the_board_s else ["none"] * 3)


def test_no_apostrophe_ends_the_script_early() -> None:
    # U-Boot's shell takes one for a quotation mark, inside of double quotes too.
    code = [line for line in SCRIPT.splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in code if "'" in line] == []


def test_what_is_loaded_on_a_pi_has_room() -> None:
    # The kernel takes 40 MiB when it runs, the initramfs some; U-Boot itself ends the memory of the smallest board.
    addresses = [re.search(rf"setenv {name} (0x0\w+|0x1\w+)", SCRIPT) for name in ADDRESSES]
    places = [int(address[1], 16) for address in addresses if address]
    assert len(places) == len(ADDRESSES)
    assert all(after - before >= 64 << 20 for before, after in itertools.pairwise(places))
    assert places[-1] + (64 << 20) <= 448 << 20
