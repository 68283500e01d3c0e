"""Guests end with whoever started them, whatever ended that."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from image.qemu import tied

END_S = 20.0
STARTS_A_GUEST = """
import subprocess, sys
from image.qemu import tied
guest = subprocess.Popen(tied("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
guest.stdin.write(b"ready\\n")
guest.stdin.flush()
assert guest.stdout.readline()
print(guest.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.programs("setpriv")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_no_guest_behind(how: signal.Signals) -> None:
    # Somebody else holds the guest's input too: closing it would end `cat`, and hide what is looked for.
    run = subprocess.Popen([sys.executable, "-c", STARTS_A_GUEST], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with run:
        assert run.stdout is not None
        guest = int(run.stdout.readline())
        held = os.open(f"/proc/{guest}/fd/0", os.O_WRONLY)
        ended = os.pidfd_open(guest)
        try:
            run.send_signal(how)
            assert run.wait(END_S) == -how
            assert select.select([ended], [], [], END_S)[0], "the guest lives on"
        finally:
            os.close(held)
            os.close(ended)


@pytest.mark.programs("setpriv")
def test_a_tied_program_is_the_child_itself() -> None:
    """No process stands between, so that its process id and its exit status are the program's."""
    with subprocess.Popen(tied("sh", "-c", "echo $$; exit 7"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
    assert process.returncode == 7
