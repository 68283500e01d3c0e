"""Which of the ports that systemd opened ahead are closed again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from hw.sockets import SpareSockets, opened_ahead, units_to_stop

ALL = (25, 110, 143, 465, 587, 993, 995)


@pytest.mark.parametrize(
    ("ports", "units"),
    [
        (ALL, ()),
        ((25, 143, 465, 587, 993), ("palomar-pop3.socket", "palomar-pop3s.socket")),
        ((2525, *ALL[1:]), ("palomar-smtp.socket",)),
    ],
)
def test_units_of_ports_that_nobody_serves(ports: tuple[int, ...], units: tuple[str, ...]) -> None:
    assert units_to_stop(ports, lambda _: True) == units
    assert units_to_stop(ports, lambda _: False) == ()


async def test_they_are_closed_once_the_ports_have_settled() -> None:
    closed: list[Sequence[str]] = []
    done = asyncio.Event()

    async def stop(units: Sequence[str]) -> None:
        closed.append(units)
        done.set()

    spare = SpareSockets(there=lambda _: True, stop=stop, settled_s=0.01)
    task = asyncio.create_task(spare.run(lambda _: None))
    spare.listening(())  # the mail process has opened none so far
    await asyncio.sleep(0)
    spare.listening((25,))
    await asyncio.sleep(0)
    spare.listening((25, 110, 143, 465, 587, 995))
    await asyncio.wait_for(done.wait(), 60)
    assert closed == [("palomar-imaps.socket",)]
    done.clear()
    spare.listening((25, 110, 143, 465, 587, 995))  # a new start of the mail process opened them all again
    await asyncio.wait_for(done.wait(), 60)
    assert len(closed) == 2
    task.cancel()
    await asyncio.wait([task])


def test_mail_ports_that_are_open_before_mail_runs(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    rows = ["00000000:0019 00000000:0000 0A", "00000000:03E1 00000000:0000 0A", "00000000:0016 00000000:0000 0A"]
    rows += ["0F02000A:008F 0202000A:C35A 01"]  # a session, by which nothing is open
    numbered = (f"   {number}: {row} 00000000:00000000" for number, row in enumerate(rows))
    table.write_text("\n".join(["  sl  local_address rem_address   st tx_queue rx_queue", *numbered, ""]))
    assert opened_ahead(table) == (25, 993)
    assert opened_ahead(tmp_path / "none") == ()
