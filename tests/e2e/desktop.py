"""A desktop that nobody sees (Xvfb), and a hand for its mouse and keyboard (xdotool)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import IO

from tests.e2e.appliance_process import wait_for
from tests.e2e.programs import PATHS, find, run

SIZE = "1100x760"
STOP_S = 60.0


class Desktop:
    """One X display and the programs on it. There is no window manager: windows lie where they open."""

    def __init__(self, home: Path, environment: dict[str, str] | None = None) -> None:
        self._home = home
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []
        home.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "HOME": str(home), "PATH": PATHS, "LANG": "C.UTF-8", "TZ": "UTC", "XDG_RUNTIME_DIR": str(home),
            "NO_AT_BRIDGE": "1", "DBUS_SESSION_BUS_ADDRESS": "disabled:", **(environment or {}),
        }  # fmt: skip
        # The server chooses a display that is free, and says which once it can be used.
        ours, theirs = os.pipe()
        try:
            options = ("-displayfd", str(theirs), "-screen", "0", f"{SIZE}x24", "-nolisten", "tcp", "-noreset")
            self._start("Xvfb", *options, descriptors=(theirs,))
        finally:
            os.close(theirs)
        with os.fdopen(ours, "rb") as said:
            number = said.readline().strip().decode()
        assert number.isdigit(), f"Xvfb did not start:\n{self.log('Xvfb')}"
        self.environment["DISPLAY"] = f":{number}"

    def start(self, program: str, *arguments: str) -> None:
        """Start a program that stays until the desktop ends."""
        self._start(program, *arguments)

    def call(self, program: str, *arguments: str, stdin: bytes = b"", statuses: tuple[int, ...] = (0,)) -> str:
        """Run a program to its end and return what it said."""
        environment = self.environment
        done = run(program, *arguments, home=self._home, stdin=stdin, statuses=statuses, environment=environment)
        return done.out.decode("utf-8", "replace")

    def windows(self, title: str) -> list[str]:
        """The ids of the windows that can be seen and have this in their title."""
        return self.call("xdotool", "search", "--onlyvisible", "--name", title, statuses=(0, 1)).split()

    def window(self, title: str) -> str:
        """Wait for a window and return its id."""
        found: list[str] = wait_for(lambda: self.windows(title), f"a window called {title!r}")
        return found[-1]

    def click(self, window: str, right: int, bottom: int) -> None:
        """Click into a window, so many pixels from its right and lower edge, where dialogs have their buttons."""
        shape = self.call("xdotool", "getwindowgeometry", "--shell", window, statuses=(0, 1))
        sizes = dict(line.split("=", 1) for line in shape.split() if "=" in line)
        if "WIDTH" in sizes:  # else it has gone meanwhile
            at = (str(int(sizes["WIDTH"]) - right), str(int(sizes["HEIGHT"]) - bottom))
            self.call("xdotool", "mousemove", "--window", window, *at, "click", "1", statuses=(0, 1))

    def press(self, window: str, *keys: str) -> None:
        """Press keys, one after the other, in a window. It has the keyboard from then on."""
        self.call("xdotool", "windowfocus", "--sync", window, "key", *keys)

    def write(self, window: str, text: str) -> None:
        """Type text into a window."""
        self.call("xdotool", "windowfocus", "--sync", window, "type", text)

    def screenshot(self, path: Path) -> None:
        """Save what is on the screen as a PNG of 256 colours, as soon as nothing moves there any more."""

        def still() -> bool:
            before = path.read_bytes() if path.exists() else b""
            self.call("import", "-window", "root", "+dither", "-colors", "256", "-strip", f"png8:{path}")
            return path.read_bytes() == before

        wait_for(still, "a picture that stays")

    def log(self, program: str) -> str:
        """What a program that was started has said."""
        return (self._home / f"{program}.log").read_text(errors="replace")

    def _start(self, program: str, *arguments: str, descriptors: tuple[int, ...] = ()) -> None:
        log = (self._home / f"{program}.log").open("wb")
        self._logs.append(log)
        process = subprocess.Popen(
            [find(program), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd=self._home, env=self.environment, pass_fds=descriptors,
        )  # fmt: skip
        self._running.append(process)

    def __enter__(self) -> Desktop:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):  # the display last
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()
