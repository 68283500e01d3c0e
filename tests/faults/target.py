"""The appliance as the fault tests set it up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field

from tests.e2e.appliance_process import ROOT, Appliance

# The filters look at everything that is sent here and keep nothing out: what is tried must not fail for want of a From.
LENIENT = {"spam.judge": "junk_score = 0.0\nrefuse_score = 0.0\n", "spam.dmarc": "on_reject = 'score'\n"}


@dataclass
class Target(Appliance):
    """An appliance with further settings in the tables of its configuration; they win over those made elsewhere.

    `everywhere` lets it listen on all addresses instead of the loopback alone.
    """

    tables: dict[str, str] = field(default_factory=dict)
    everywhere: bool = False

    def write_config(self) -> None:
        super().write_config()
        text = self.config.read_text()
        for table, settings in self.tables.items():
            text = _with(text, table, settings)
        if self.everywhere:
            text = text.replace('"127.0.0.1:', '":')
        self.config.write_text(text)

    def launch(self) -> None:
        """Start, and wait for nothing."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "appliance", "--config", str(self.config), "run"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **self.environment},
            )  # fmt: skip


def _with(text: str, table: str, settings: str) -> str:
    head = f"[{table}]\n"
    if head not in text:
        return f"{text}\n{head}{settings}"
    before, _, after = text.partition(head)
    own, bracket, rest = after.partition("\n[")
    for line in settings.splitlines():
        name = re.escape(line.partition("=")[0].strip())
        own = re.sub(rf"(?m)^{name} *=.*\n?", "", own)
    return f"{before}{head}{settings}{own}{bracket}{rest}"
