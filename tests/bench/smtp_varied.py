"""The SMTP generator with bodies that differ per message, so that a compressing store gains nothing unreal."""

from __future__ import annotations

import argparse

from tests.bench import generators
from tests.bench.bodies import Bodies

generators.require()

import smtp_load  # noqa: E402 - found only after `require`


class VariedRun(smtp_load.Run):  # type: ignore[misc]
    """A run whose messages come from `Bodies`."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.bodies = Bodies(options.size, seed=self.id0)

    def message(self) -> bytes:
        """The next message with its final dot."""
        self.n += 1
        return self.bodies.make(self.id0 + self.n) + b".\r\n"


smtp_load.Run = VariedRun

if __name__ == "__main__":
    smtp_load.main()
