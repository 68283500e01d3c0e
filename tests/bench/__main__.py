"""`make bench`: Palomar beside Postfix + Dovecot on this machine, in one run, into build/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import generators

generators.require()

from tests.bench import crowd, drain, fullqueue, mailbox, rows  # noqa: E402
from tests.bench.sides import Palomar, peer, running  # noqa: E402

BUILD = generators.ROOT / "build"
MESSAGES = 10_000
DRAIN, QUICK_DRAIN = (1000, 10_000), (200, 2000)  # destinations and messages
FORMATS = ("maildir", "mdbox")  # the better of the two counts, row by row

# sessions, messages for (4k, 64k, 1m)
INBOUND = {1: (300, 150, 30), 10: (1200, 400, 60), 50: (1200, 400, 80)}


class Table:
    """Collects samples row by row, prints each as it is finished, and writes the file after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []

    def add(self, row: str, unit: str, palomar: list[float], peers: dict[str, list[float]], **more: object) -> None:
        """Add one row from the raw samples of both sides; among the peers' formats the better one counts."""
        ours = statistics.median(palomar)
        best = max if unit in rows.HIGHER else min
        theirs = best((statistics.median(samples) for samples in peers.values()), default=0.0)
        ratio = ours / theirs if theirs else None
        bar = rows.bar_of(row)
        holds = None
        if bar is not None:
            figure = ratio if bar.of == "ratio" else ours
            assert figure is not None
            holds = figure >= bar.limit if unit in rows.HIGHER else figure <= bar.limit
        record = {
            "row": row, "palomar": round(ours, 3), "peer": round(theirs, 3), "ratio": ratio and round(ratio, 3),
            "unit": unit, "bar": bar and bar.limit, "holds": holds, "bar_of": bar and bar.of,
            "samples": {"palomar": palomar, **peers}, **more,
        }  # fmt: skip
        self._rows.append(record)
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(self._rows, indent=1) + "\n")
        _print(record)

    def summary(self) -> int:
        """Print what does not hold. Returns the exit status: 0 when every bar holds."""
        short = [record["row"] for record in self._rows if record["holds"] is False]
        barred = sum(record["holds"] is not None for record in self._rows)
        print(f"\n{barred - len(short)} of {barred} bars hold; written to {self._path}")
        if short:
            print("short:", ", ".join(short))
        return 1 if short else 0


def _print(record: dict[str, Any]) -> None:
    mark = {True: "holds", False: "SHORT", None: ""}[record["holds"]]
    ratio = "" if record["ratio"] is None else f"{record['ratio']:.2f}"
    bar = "" if record["bar"] is None else f"{record['bar']:g}"
    print(
        f"{record['row']:42} {record['palomar']:>11.2f} {record['peer']:>11.2f} {ratio:>8} {bar:>6} "
        f"{mark:6} {record['unit']}",
        flush=True,
    )


class Bench:
    """One run. `base` is a scratch folder on a real disk; `reps` samples are taken per row and side, in turns.

    `messages` are those of the large mailbox, `drain` the destinations of the full queue and the messages in it.
    """

    def __init__(
        self,
        table: Table,
        base: Path,
        reps: int,
        pattern: str,
        messages: int = MESSAGES,
        drain: tuple[int, int] = DRAIN,
    ) -> None:
        self._table, self._base, self._reps, self._pattern, self._messages = table, base, reps, pattern, messages
        self._drain = drain

    def run(self) -> None:
        """All groups in order; a group none of whose rows is asked for starts nothing."""
        groups: list[tuple[list[str], Callable[[], None]]] = [
            (["rest-pss", "idle-pss", "login"], self.memory),
            (
                [f"inbound-{s}-{n}-{k}" for s in rows.SIZES for n in INBOUND for k in ("keep", "single")]
                + ["cpu-4k-10"],
                self.inbound,
            ),
            (["inbound-tls-4k-10-keep", "inbound-tls-4k-10-single"], self.inbound_tls),
            (["filters-4k-10", "filters-4k-10-rspamd"], self.filters),
            (["filters-wear-4k-10"], self.filters_wear),
            ([f"slowsync-4k-{n}" for n in INBOUND], self.slowsync),
            (["relay-4k-10", "relay-64k-10"], self.relay),
            (["drain-live"], self.drain),
            (["queue-200k-start", "queue-200k-memory", "queue-200k-answer"], self.full_queue),
            (["imap-", "pop3-"], self.mailbox),
            (["idle-2000-plain", "idle-2000-tls", "idle-2000-p99"], self.idle),
            (["smtp-2200-plain", "smtp-2200-tls"], self.smtp_crowd),
            (["fetch-50m-20"], self.fetch_large),
            ([f"wear-{s}-{n}" for s in ("4k", "64k") for n in INBOUND], self.wear),
            (["checkpoint-p99"], self.checkpoint),
        ]
        for names, measure in groups:
            if any(self._wanted(name) or self._pattern.startswith(name) for name in names):
                started = time.monotonic()
                measure()
                print(f"  ({time.monotonic() - started:.0f} s)", flush=True)

    def _wanted(self, row: str) -> bool:
        return rows.matches(row, self._pattern)

    def _peer(self, kind: str, **options: Any) -> Any:
        return peer(self._base / "peer", kind, **options)

    def _palomar(self, name: str = "palomar", **options: Any) -> Palomar:
        shutil.rmtree(self._base / name, ignore_errors=True)
        return Palomar(self._base / name, **options)

    def _both(self, **options: Any) -> Iterator[tuple[Palomar, Any, str]]:
        """Both sides up, once per mailbox format of the peer."""
        for kind in FORMATS:
            ours, theirs = self._palomar(**options), self._peer(kind, **options)
            with running(ours, theirs):
                yield ours, theirs, kind

    def memory(self) -> None:
        """At rest, per idle connection, and one login."""
        ours: dict[str, list[float]] = {"rest-pss": [], "idle-pss": [], "login": []}
        theirs: dict[str, dict[str, list[float]]] = {name: {} for name in ours}
        measures = {"rest-pss": rows.rest_pss, "idle-pss": rows.idle_pss, "login": rows.login}
        for us, them, kind in self._both():
            for name, measure in measures.items():
                ours[name].append(measure(us))
                theirs[name][kind] = [measure(them)]
        for name, unit in (("rest-pss", "MB"), ("idle-pss", "KB/connection"), ("login", "ms")):
            self._table.add(name, unit, ours[name], theirs[name])

    def inbound(self) -> None:
        """Deliveries a second, every size, number of connections and way to use them."""
        cells = [(s, n, k) for s in rows.SIZES for n in INBOUND for k in ("keep", "single")]
        cells = [
            c
            for c in cells
            if self._wanted("-".join(["inbound", *map(str, c)])) or (c == ("4k", 10, "keep") and self._wanted("cpu"))
        ]
        ours: dict[Any, list[dict[str, float]]] = {cell: [] for cell in cells}
        theirs: dict[Any, dict[str, list[dict[str, float]]]] = {cell: {} for cell in cells}
        for us, them, kind in self._both():
            for number, cell in enumerate(cells):
                size, sessions, keep = cell
                messages = INBOUND[sessions][list(rows.SIZES).index(size)]
                for _ in range(self._reps):
                    ours[cell].append(
                        rows.inbound(us, size, sessions, keep == "keep", number, messages * (3 if size == "4k" else 1))
                    )
                    theirs[cell].setdefault(kind, []).append(
                        rows.inbound(them, size, sessions, keep == "keep", number, messages)
                    )
        for cell in cells:
            self._add("-".join(["inbound", *map(str, cell)]), "messages/s", "per_s", ours[cell], theirs[cell])
            if cell == ("4k", 10, "keep"):
                self._add("cpu-4k-10", "ms/message", "cpu_ms", ours[cell], theirs[cell])

    def inbound_tls(self) -> None:
        """Deliveries a second over TLS: one handshake for all messages of a connection, and one for each."""
        wanted = [keep for keep in ("keep", "single") if self._wanted(f"inbound-tls-4k-10-{keep}")]
        ours: dict[str, list[dict[str, float]]] = {keep: [] for keep in wanted}
        theirs: dict[str, dict[str, list[dict[str, float]]]] = {keep: {} for keep in wanted}
        for us, them, kind in self._both():
            for user, keep in enumerate(wanted):
                for _ in range(self._reps):
                    for side, figures in ((us, ours[keep]), (them, theirs[keep].setdefault(kind, []))):
                        figures.append(rows.inbound(side, "4k", 10, keep == "keep", user, INBOUND[10][0], tls=True))
        for keep in wanted:
            self._add(f"inbound-tls-4k-10-{keep}", "messages/s", "per_s", ours[keep], theirs[keep])

    def filters(self) -> None:
        """Deliveries a second with our filters on, beside peers that filter nothing, and that ask Rspamd."""
        for row, with_rspamd in (("filters-4k-10", False), ("filters-4k-10-rspamd", True)):
            if not self._wanted(row):
                continue
            ours: list[dict[str, float]] = []
            theirs: dict[str, list[dict[str, float]]] = {}
            for kind in FORMATS:
                us, them = self._palomar(filters=True), self._peer(kind, with_rspamd=with_rspamd)
                with running(us, them):
                    for _ in range(self._reps):
                        ours.append(rows.inbound(us, "4k", 10, True, 0, INBOUND[10][0]))
                        theirs.setdefault(kind, []).append(rows.inbound(them, "4k", 10, True, 0, INBOUND[10][0]))
            cpu_ms = round(statistics.median(sample["cpu_ms"] for sample in ours), 3)
            self._add(row, "messages/s", "per_s", ours, theirs, palomar_cpu_ms=cpu_ms)

    def filters_wear(self) -> None:
        """Octets written with filters, learning and trace, beside our own without filters. Ours alone."""
        on, off = (
            rows.wear(lambda folder, on=on: Palomar(folder, filters=on), "4k", 10, 1000, self._base)  # type: ignore[misc]
            for on in (True, False)
        )
        self._table.add("filters-wear-4k-10", "octets/octet", [on], {"without filters": [off]})

    def slowsync(self) -> None:
        """The same with every fsync 10 ms slower, as on a card."""
        cells = [n for n in INBOUND if self._wanted(f"slowsync-4k-{n}")]
        ours: dict[int, list[dict[str, float]]] = {n: [] for n in cells}
        theirs: dict[int, dict[str, list[dict[str, float]]]] = {n: {} for n in cells}
        for us, them, kind in self._both(slow_us=10_000):
            for n in cells:
                for _ in range(self._reps):
                    ours[n].append(rows.inbound(us, "4k", n, True, n, {1: 40, 10: 400, 50: 1200}[n]))
                    theirs[n].setdefault(kind, []).append(
                        rows.inbound(them, "4k", n, True, n, {1: 40, 10: 150, 50: 300}[n])
                    )
        for n in cells:
            self._add(f"slowsync-4k-{n}", "messages/s", "per_s", ours[n], theirs[n])

    def _add(
        self,
        row: str,
        unit: str,
        key: str,
        ours: list[dict[str, float]],
        theirs: dict[str, list[dict[str, float]]],
        **more: object,
    ) -> None:
        peers = {kind: [sample[key] for sample in samples] for kind, samples in theirs.items()}
        self._table.add(row, unit, [sample[key] for sample in ours], peers, **more)

    def relay(self) -> None:
        """From a client through the queue to the next hop."""
        ours, theirs = self._palomar(relay=True), self._peer("maildir", relay=True)
        with running(ours, theirs):
            for size, messages in (("4k", 800), ("64k", 300)):
                if self._wanted(f"relay-{size}-10"):
                    rows.relay(ours, size, 10, 50)
                    rows.relay(theirs, size, 10, 50)
                    pairs = [
                        (rows.relay(ours, size, 10, messages), rows.relay(theirs, size, 10, messages))
                        for _ in range(self._reps)
                    ]
                    peers = {"maildir": [pair[1] for pair in pairs]}
                    self._table.add(f"relay-{size}-10", "messages/s", [pair[0] for pair in pairs], peers)

    def drain(self) -> None:
        """How soon the live hosts have theirs out of a full queue, much of which is for others. Once per side."""
        town = drain.Town(*self._drain)
        shutil.rmtree(self._base / "drain", ignore_errors=True)
        ours = drain.ours(self._base / "drain" / "palomar", town)
        theirs = drain.theirs(self._base / "drain" / "peer", town)
        more = {"destinations": self._drain[0], "queued": town.messages}
        self._table.add("drain-live", "messages/s", [ours], {"maildir": [theirs]}, **more)

    def full_queue(self) -> None:
        """What 200,000 recipients in the queue add to the start and to the memory, and how soon commands answer."""
        self._palomar()
        found = fullqueue.measure(self._base / "palomar")
        for name, unit in (("start", "s"), ("memory", "MB"), ("answer", "s")):
            if self._wanted(f"queue-200k-{name}"):
                self._table.add(f"queue-200k-{name}", unit, [found[name]], {})

    def mailbox(self) -> None:
        """IMAP and POP3 on a large mailbox, cold and warm."""
        ours: dict[str, list[float]] = {}
        theirs: dict[str, dict[str, list[float]]] = {}
        for us, them, kind in self._both():
            for side in (us, them):
                mailbox.populate(side, self._messages)
                figures = {
                    **{f"imap-{name}": ms for name, ms in mailbox.imap_cold(side).items()},
                    **{f"imap-{name}": ms for name, ms in mailbox.imap(side).items()},
                    **{f"imap-{name}": ms for name, ms in mailbox.imap_more(side).items()},
                    "imap-qresync_100_changes": mailbox.imap_qresync(side),
                    **{f"pop3-{name}": ms for name, ms in mailbox.pop3(side).items()},
                }
                for name, ms in figures.items():
                    (
                        ours.setdefault(name, []) if side is us else theirs.setdefault(name, {}).setdefault(kind, [])
                    ).append(ms)
        for name in ours:
            if self._wanted(name):
                self._table.add(name, "ms", ours[name], theirs.get(name, {}), messages=self._messages)

    def idle(self) -> None:
        """Two thousand connections in IDLE: their memory, and how soon they hear of mail. Ours alone."""
        ours = self._palomar(crowd=crowd.CONNECTIONS + 100)
        with running(ours):
            figures = crowd.idle(ours)
        for name, unit in (("plain", "KB/connection"), ("tls", "KB/connection"), ("p99", "ms")):
            self._table.add(f"idle-2000-{name}", unit, [figures[name]], {})

    def smtp_crowd(self) -> None:
        """Memory per SMTP connection, most of them idle, some delivering. Ours alone."""
        for name in ("plain", "tls"):
            if self._wanted(f"smtp-2200-{name}"):
                ours = self._palomar(crowd=crowd.CONNECTIONS + crowd.ACTIVE + 100)
                with running(ours):
                    self._table.add(f"smtp-2200-{name}", "KB/connection", [crowd.smtp(ours, tls=name == "tls")], {})

    def fetch_large(self) -> None:
        """Memory while twenty clients fetch a message of 50 MB. Ours alone."""
        ours = self._palomar()
        with running(ours):
            self._table.add("fetch-50m-20", "MB", [crowd.fetch_large(ours)], {})

    def wear(self) -> None:
        """Octets written to the disk for each octet of mail, ours with compression and without."""
        for size, messages in (("4k", 1000), ("64k", 300)):
            for n in INBOUND:
                if not self._wanted(f"wear-{size}-{n}"):
                    continue

                def measure(
                    make: Callable[[Path], Any], size: str = size, n: int = n, messages: int = messages
                ) -> float:
                    return rows.wear(make, size, n, messages, self._base)

                ours = [measure(Palomar)]
                plain = measure(lambda folder: Palomar(folder, compress=False))
                peers = {kind: [measure(lambda folder, kind=kind: peer(folder, kind))] for kind in FORMATS}
                self._table.add(f"wear-{size}-{n}", "octets/octet", ours, peers, palomar_uncompressed=round(plain, 3))

    def checkpoint(self) -> None:
        """How long a 250 takes at the worst of times."""
        ours, theirs = [], {}
        for us, them, kind in self._both():
            ours.append(rows.checkpoint_p99(us, 6000))
            theirs[kind] = [rows.checkpoint_p99(them, 1500)]
        self._table.add("checkpoint-p99", "ms", ours, theirs)


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog="Each row has one bar: where several were asked for, the strictest. Most are of the ratio to the peer,"
        " the better of its two formats; those of memory, wear, CPU time and notices are of our own figure.",
    )
    parser.add_argument("--rows", default="", help="only rows that begin with this regular expression")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="in the mailbox of the IMAP and POP3 rows")
    parser.add_argument("--quick", action="store_true", help="a fifth of the full queue in the row drain-live")
    parser.add_argument("--reps", type=int, default=3, help="samples per row and side")
    parser.add_argument("--folder", type=Path, help="scratch space on a real disk (default: the temporary folder)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print(
            "make bench: Postfix and Dovecot need root to run under their own users. Try: sudo make bench",
            file=sys.stderr,
        )
        return 2
    base = Path(tempfile.mkdtemp(prefix="palomar-bench-", dir=options.folder))
    base.chmod(0o755)
    os.environ["PEERBENCH_DIR"] = str(base)
    print(f"{'row':42} {'palomar':>11} {'peer':>11} {'ratio':>8} {'bar':>6}")
    name = "bench" if options.messages == MESSAGES else f"bench-{options.messages}"
    table = Table(BUILD / f"{name}.json")
    try:
        Bench(table, base, options.reps, options.rows, options.messages, QUICK_DRAIN if options.quick else DRAIN).run()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return table.summary()


if __name__ == "__main__":
    raise SystemExit(main())
