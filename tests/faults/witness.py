"""Writes a plugin that notes every delivery of which the end is on the disk, and can end its process at a statement."""

from __future__ import annotations

from pathlib import Path

NAME = "witness"

_TEXT = '''
"""Notes what is settled; kills the process at the statement that `lines` counts to, of the code that delivers."""
import os, signal, sys, threading
from pathlib import Path
from appliance.hookspecs import hookimpl

HERE = Path(__file__).parent
NOTES = os.open(HERE / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
WATCHED = tuple(
    os.sep + os.path.join("appliance", *name)
    for name in (("queue", ""), ("smtpclient", ""), ("store", "queue.py"), ("store", "writer.py"), ("intake.py",))
)
left = int((HERE / "lines").read_text())
known = {}

@hookimpl
async def delivery_settled(outcome):
    os.write(NOTES, f"{outcome.status} {outcome.recipient.address}\\n".encode())

def on_line(frame, event, argument):
    global left
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return on_line

def on_call(frame, event, argument):
    code = frame.f_code
    watched = known.get(code)
    if watched is None:
        watched = known[code] = any(part in code.co_filename for part in WATCHED)
    return on_line if watched else None

if left:
    threading.settrace(on_call)
    sys.settrace(on_call)
'''


class Witness:
    """The plugin in `folder`, its orders and its notes beside it. The notes survive every crash and power cut."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._lines = folder / "lines"
        self._notes = folder / "notes"
        self._notes.touch()
        self.spare()
        (folder / f"{NAME}.py").write_text(_TEXT)

    def kill_at(self, line: int) -> None:
        """The next process ends at this statement of intake, queue, SMTP client and writer, counted from its start."""
        self._lines.write_text(str(line))

    def spare(self) -> None:
        """The next process lives."""
        self._lines.write_text("0")

    def settled(self) -> dict[str, str]:
        """What became of recipients, by address, as far as it is on the disk."""
        lines = self._notes.read_text().splitlines()
        return {address: status for status, _, address in (line.partition(" ") for line in lines)}
