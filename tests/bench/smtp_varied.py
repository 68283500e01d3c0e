"""The SMTP generator with bodies that differ per message, so that a compressing store gains nothing unreal.

Besides the generator's own options: `--starttls` has every connection secured first, by a whole handshake each.
The result tells when the first connection was begun (`began_at`, monotonic): starting a process is nobody's delivery.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
import time
from typing import Any

from tests.bench import generators
from tests.bench.bodies import Bodies

generators.require()

import smtp_load  # noqa: E402 - found only after `require`

STARTTLS = "--starttls"


def _bodies() -> Bodies:
    """Made before the generator starts its clock. The seed differs from run to run, so no body comes twice."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--size", type=int, default=4096)
    return Bodies(parser.parse_known_args()[0].size, seed=time.time_ns())


class VariedRun(smtp_load.Run):  # type: ignore[misc]
    """A run whose messages come from `Bodies`."""

    bodies = _bodies()
    began_at = 0.0

    def message(self) -> bytes:
        """The next message with its final dot."""
        self.n += 1
        return self.bodies.make(self.id0 + self.n) + b".\r\n"

    async def main(self) -> None:
        """Note the time, then run."""
        VariedRun.began_at = time.monotonic()
        await super().main()


class SecuredSender(smtp_load.Sender):  # type: ignore[misc]
    """A sender that says STARTTLS after its first EHLO, and EHLO again."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the server under test signs for itself
    secured = False

    def reply(self, line: bytes) -> None:
        """Step in where the connection is to be secured."""
        if self.state == "ehlo" and not self.secured:
            self.t.write(b"STARTTLS\r\n")
            self.state = "starttls"
        elif self.state == "starttls":
            self.securing = asyncio.ensure_future(self._secure())
        else:
            super().reply(line)

    async def _secure(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.t = await loop.start_tls(self.t, self, self.context)
        except (OSError, ssl.SSLError) as error:
            self.run.fail(error)
            return
        self.secured, self.pipe, self.state = True, False, "ehlo"
        self.t.write(b"EHLO load.test\r\n")


def _emit(result: dict[str, Any], as_json: bool) -> None:
    emit(result | {"began_at": VariedRun.began_at}, as_json)


emit, smtp_load.emit = smtp_load.emit, _emit
smtp_load.Run = VariedRun
if STARTTLS in sys.argv:
    sys.argv.remove(STARTTLS)
    smtp_load.Sender = SecuredSender

if __name__ == "__main__":
    smtp_load.main()
