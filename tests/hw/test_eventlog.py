"""The event log: what is kept, how often it is written, and what a torn tail costs."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.eventlog import (
    BLOCK_OCTETS,
    FLUSH_AFTER_ERROR_S,
    FLUSH_EVERY_S,
    MAX_LINE,
    MAX_OCTETS_AN_HOUR,
    Event,
    EventLog,
    Ring,
    files_of,
    main,
    parse,
    parse_json,
    read,
)
from hw.part import Facts

AT = 1_800_000_000


@pytest.mark.parametrize(
    ("datagram", "event"),
    [
        (b"<29>Nov 24 10:00:00 palomar[7]: started", Event(AT, 5, "palomar[7]: started")),
        (b"<3>Nov  4 10:00:00 kernel: mmc0: error -110", Event(AT, 3, "kernel: mmc0: error -110")),
        (b"<30>Nov 24 10:00:00 palomar[7]: chatter", None),  # info
        (b"<31>debug", None),
        (b"without a head", Event(AT, 5, "without a head")),
        (b"<999>odd", None),
        (b"<28>a\nb\x1b[2Jc\xff", Event(AT, 4, "a b [2Jc\ufffd")),
        (b"<28>   ", None),
        (b"", None),
    ],
)
def test_lines_of_the_journal(datagram: bytes, event: Event | None) -> None:
    assert parse(datagram, AT + 0.5) == event


@given(st.binary(max_size=5000))
def test_whatever_comes_is_one_bounded_line(datagram: bytes) -> None:
    event = parse(datagram, AT)
    if event is not None:
        assert "\n" not in event.text
        assert len(event.text) <= MAX_LINE
        assert 0 <= event.priority <= 5


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            b'{"__REALTIME_TIMESTAMP":"1800000000123456","PRIORITY":"3","MESSAGE":"mmc0: error"}',
            Event(AT, 3, "kernel: mmc0: error"),
        ),
        (
            b'{"__REALTIME_TIMESTAMP":"1800000000000000","PRIORITY":"4","MESSAGE":"m","SYSLOG_IDENTIFIER":"a","_PID":"7"}',
            Event(AT, 4, "a[7]: m"),
        ),
        (b'{"__REALTIME_TIMESTAMP":"1800000000000000","PRIORITY":"6","MESSAGE":"m"}', None),
        (b'{"__REALTIME_TIMESTAMP":"x"}', None),
        (b"-- No entries --", None),
    ],
)
def test_what_the_journal_had_before_we_came(line: bytes, event: Event | None) -> None:
    assert parse_json(line) == event


class Bench:
    """A log with a clock that tests turn."""

    def __init__(self, folder: Path, **ring: int) -> None:
        self.folder = folder
        self.at = 1000.0
        self.log = EventLog(
            folder,
            folder / "syslog",
            ring=Ring(folder, **ring),
            now=lambda: AT + self.at,
            clock=lambda: self.at,
            before=self.before,
        )
        self.asked = 0

    async def before(self) -> list[bytes]:
        self.asked += 1
        return [b'{"__REALTIME_TIMESTAMP":"1800000000000000","PRIORITY":"3","MESSAGE":"early"}']

    def say(self, text: str, priority: int = 5) -> None:
        self.log.take(f"<{priority}>{text}".encode())

    def wait(self, seconds: float) -> None:
        self.at += seconds
        self.log.tick()

    def texts(self) -> list[str]:
        return [event.text for event in read(self.folder)]


def test_it_is_written_every_quarter_of_an_hour(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.say("one")
    bench.wait(FLUSH_EVERY_S - 1)
    bench.say("two", 4)
    assert bench.texts() == []
    bench.wait(1)
    assert bench.texts() == ["one", "two"]
    assert [event.at for event in read(tmp_path)] == [AT + 1000, AT + 1899]


def test_an_error_is_written_soon_but_not_twice_a_minute(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.say("one", 3)
    bench.wait(0)
    assert bench.texts() == ["one"]
    bench.say("two", 2)
    bench.wait(FLUSH_AFTER_ERROR_S - 1)
    assert bench.texts() == ["one"]
    bench.wait(1)
    assert bench.texts() == ["one", "two"]


def test_nothing_is_written_when_nothing_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log")
    bench.wait(10 * FLUSH_EVERY_S)
    assert not (tmp_path / "log").exists()


def test_a_full_block_is_written_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(BLOCK_OCTETS // 1000 + 1):
        bench.say(f"{number} {'x' * 1000}")
    assert 60 <= len(bench.texts()) < BLOCK_OCTETS // 1000 + 1


def test_a_flood_is_counted_and_not_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    lines = MAX_OCTETS_AN_HOUR // 1000
    for _ in range(lines + 500):
        bench.say("x" * 1000)
    bench.wait(3600)
    bench.say("calm")
    bench.log.flush()
    texts = bench.texts()
    assert len(texts) < lines
    assert texts[-2].endswith("lines were too many and are not kept")
    assert texts[-1] == "calm"


def test_the_ring_is_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    import random

    noise = random.Random(1)
    ring = Ring(tmp_path, file_octets=10_000, ring_octets=40_000)
    for number in range(50):
        ring.append(f"{AT} 5 {number} {noise.randbytes(1500).hex()}\n".encode())
    ring.close()
    files = files_of(tmp_path)
    assert len(files) <= 4
    assert sum(file.stat().st_size for file in files) <= 40_000
    numbers = [int(event.text.split()[0]) for event in read(tmp_path)]
    assert numbers == list(range(numbers[0], 50))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_tail_costs_one_block_and_the_next_is_whole(tmp_path: Path, cut: int) -> None:
    ring = Ring(tmp_path)
    for text in ("one", "two"):
        ring.append(f"{AT} 5 {text}\n".encode())
    ring.close()
    (file,) = files_of(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: max(len(whole) - cut, 0)])
    before = [event.text for event in read(tmp_path)]
    assert before in (["one"], [])
    again = Ring(tmp_path)
    again.append(f"{AT} 5 three\n".encode())
    again.close()
    assert [event.text for event in read(tmp_path)] == [*before, "three"]


def test_rubbish_behind_the_last_block_goes(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ring.append(f"{AT} 5 one\n".encode())
    ring.close()
    (file,) = files_of(tmp_path)
    file.write_bytes(file.read_bytes() + b"\0" * 4096)
    again = Ring(tmp_path)
    again.append(f"{AT} 5 two\n".encode())
    again.close()
    assert [event.text for event in read(tmp_path)] == ["one", "two"]


@given(st.binary(max_size=300))
def test_any_file_can_be_read(tmp_path_factory: pytest.TempPathFactory, octets: bytes) -> None:
    folder = tmp_path_factory.mktemp("ring")
    (folder / "events-00000001.log").write_bytes(octets)
    assert list(read(folder)) == []


async def test_it_takes_lines_from_the_socket_and_writes_the_rest_at_its_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    reported: list[Facts] = []
    task = asyncio.create_task(bench.log.run(reported.append))
    async with asyncio.timeout(60):
        while not (tmp_path / "syslog").exists():
            await asyncio.sleep(0.001)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.sendto(b"<28>Nov 24 10:00:00 kernel: something", str(tmp_path / "syslog"))
    task.cancel()
    await asyncio.wait([task])
    assert bench.texts() == ["kernel: early", "kernel: something"]
    assert not (tmp_path / "syslog").exists()
    again = Bench(tmp_path)  # this process was started again, not the machine
    task = asyncio.create_task(again.log.run(reported.append))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (bench.asked, again.asked) == (1, 0)


async def test_without_a_journal_it_waits_and_says_so(tmp_path: Path) -> None:
    reported: list[Facts] = []
    task = asyncio.create_task(EventLog(tmp_path, tmp_path / "no journal" / "syslog").run(reported.append))
    await asyncio.sleep(0)
    assert "no journal" in str(reported)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


class BrokenRing(Ring):
    """A medium that is full."""

    def append(self, text: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_medium_is_told_and_ends_nothing(tmp_path: Path) -> None:
    turns = asyncio.Semaphore(0)
    reported: list[Facts] = []

    async def sleep(seconds: float) -> None:
        await turns.acquire()

    (tmp_path / "syslog.taken").touch()
    log = EventLog(tmp_path, tmp_path / "syslog", ring=BrokenRing(tmp_path), clock=lambda: 5000.0, sleep=sleep)
    log.take(b"<3>trouble")
    task = asyncio.create_task(log.run(reported.append))
    turns.release()
    async with asyncio.timeout(60):
        while not reported:
            await asyncio.sleep(0.001)
    assert "No space left" in str(reported[0])
    task.cancel()
    await asyncio.wait([task])


def test_it_is_printed_with_words_to_look_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = Ring(tmp_path)
    ring.append(f"{AT} 3 kernel: mmc0: error\n{AT} 5 palomar: started\n".encode())
    assert main(["MMC0"], tmp_path) == 0
    assert capsys.readouterr().out == "2027-01-15 08:00:00 error     kernel: mmc0: error\n"
