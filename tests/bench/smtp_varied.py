"""The SMTP generator with bodies that differ per message, so that a compressing store gains nothing unreal."""

from __future__ import annotations

import argparse
import time

from tests.bench import generators
from tests.bench.bodies import Bodies

generators.require()

import smtp_load  # noqa: E402 - found only after `require`


def _bodies() -> Bodies:
    """Made before the generator starts its clock. The seed differs from run to run, so no body comes twice."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--size", type=int, default=4096)
    return Bodies(parser.parse_known_args()[0].size, seed=time.time_ns())


class VariedRun(smtp_load.Run):  # type: ignore[misc]
    """A run whose messages come from `Bodies`."""

    bodies = _bodies()

    def message(self) -> bytes:
        """The next message with its final dot."""
        self.n += 1
        return self.bodies.make(self.id0 + self.n) + b".\r\n"


smtp_load.Run = VariedRun

if __name__ == "__main__":
    smtp_load.main()
