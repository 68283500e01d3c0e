"""`make run`, as on the first day: the banner, the two logins, the commands that it proposes, and Ctrl-C."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import ROOT, answers, wait_for
from tests.e2e.programs import PATHS, Done, find, run
from tests.ports import free_ports

pytestmark = pytest.mark.e2e

START_S = 60.0
STOP_S = 60.0
PORTS = {"2525", "2587", "2465", "2143", "2993", "2110", "2995"}
ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


class Checkout:
    """A copy of the source in which `make run` is typed; its environment is the one that runs this test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("appliance", "plugins", "hw", "image", "demo", "tools"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (
            "Makefile",
            "pyproject.toml",
            "requirements.lock",
            "requirements-dev.lock",
            "README.md",
            "LICENSE",
        ):
            shutil.copy(ROOT / name, folder)
        self._make_environment()
        self.ports = self._free_ports()
        self.output = folder / "output.txt"
        self.environment = {"PATH": PATHS, "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPATH": str(folder)}
        self.process: subprocess.Popen[bytes] | None = None

    def _make_environment(self) -> None:
        """A .venv with the packages of ours, and the stamp that tells tools/setup that nothing has to be installed."""
        environment = self.folder / ".venv"
        environment.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (environment / name).symlink_to(Path(sys.prefix) / name)
        parts = ("requirements.lock", "pyproject.toml", "tools/setup")
        text = b"".join((self.folder / name).read_bytes() for name in parts)
        (environment / "palomar-stamp").write_text(hashlib.sha256(text).hexdigest() + "\n")

    def _free_ports(self) -> dict[str, str]:
        """The demo's ports, or free ones where somebody else has some of them."""
        if not any(answers(int(port)) for port in PORTS):
            return {port: port for port in PORTS}
        config = self.folder / "demo" / "palomar.toml"
        ports = dict(zip(sorted(PORTS), map(str, free_ports(len(PORTS))), strict=True))
        text = config.read_text()
        for old, new in ports.items():
            text = text.replace(f":{old}", f":{new}")
        config.write_text(text)
        return ports

    @property
    def said(self) -> str:
        return self.output.read_text()

    def start(self) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [find("make"), "run"], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: "Ctrl-C stops it" in self.said or self.process.poll() is not None, "the banner", START_S)
        assert self.process.poll() is None, self.said

    def press_ctrl_c(self) -> int:
        """As a terminal does: the signal goes to make and to all that it has started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_S)

    def shell(self, command: str) -> Done:
        """Type a command in another terminal."""
        return run("sh", "-c", command, home=self.folder, environment=self.environment)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("checkout") / "palomar")
    made.start()
    yield made
    assert made.process is not None
    if made.process.poll() is None:
        os.killpg(made.process.pid, signal.SIGKILL)


@pytest.mark.usefixtures("checkout")
class TestMakeRun:
    """In the order in which somebody would go."""

    def test_the_banner_says_what_to_do(self, checkout: Checkout) -> None:
        for port in checkout.ports.values():
            assert port in checkout.said
            assert answers(int(port))
        for login in (ANA, LUIS, "palomar"):
            assert login in checkout.said
        assert len(_proposed(checkout.said)) == 4
        assert (checkout.folder / "data").is_dir()

    def test_the_commands_of_the_banner_work(self, checkout: Checkout) -> None:
        export, send, fetch, trace = _proposed(checkout.said)
        checkout.shell(f"{export}\n{send}")
        shown = checkout.shell(fetch)
        assert letters.header_value(shown.out, "Subject") == "Lunch"
        assert b"At one?" in shown.out
        assert "accepted" in checkout.shell(f"{export}\n{trace}").text

    def test_the_tour_of_the_readme(self, checkout: Checkout) -> None:
        tour = (
            (ROOT / "README.md").read_text().partition("## Five minutes")[2].partition("```sh\n")[2].partition("```")[0]
        )
        for old, new in checkout.ports.items():
            tour = tour.replace(f":{old}", f":{new}")
        commands = [command for command in re.split(r"\n(?=[a-z.#])", _joined(tour)) if not command.startswith("#")]
        assert [command.split()[0] for command in commands] == [
            "swaks", "curl", "printf", "mutt", "export", ".venv/bin/palomar", ".venv/bin/palomar", ".venv/bin/palomar",
        ]  # fmt: skip
        find("swaks")
        find("curl")
        stranger, look, write, _mutt, export, *questions = commands
        assert "250 2.0.0 Stored as" in checkout.shell(stranger).text
        assert b"Subject: " in checkout.shell(look).out
        checkout.shell(write)
        letter = checkout.shell(look.replace("ana@", "luis@")).out
        assert letters.header_value(letter, "Subject") == "Lunch"
        said = [checkout.shell(f"{export}\n{question}").text for question in questions]
        assert "accepted" in said[0]
        assert ANA in said[2]

    def test_a_second_one_is_refused(self, checkout: Checkout) -> None:
        done = run(
            "make", "-C", checkout.folder, "run", home=checkout.folder, statuses=(2,), environment=checkout.environment
        )
        assert "the demo runs already" in done.text
        assert "Traceback" not in done.text

    def test_ctrl_c_stops_it_cleanly(self, checkout: Checkout) -> None:
        before = checkout.said
        status = checkout.press_ctrl_c()
        assert not any(answers(int(port)) for port in checkout.ports.values())
        after = checkout.said.removeprefix(before)
        assert "Traceback" not in after
        assert "Error" not in after, after
        assert after.endswith("Stopped. Accounts and mail stay in data.\n")
        assert status in {0, -signal.SIGINT}  # make got the signal too

    def test_the_next_start_has_the_mail_of_the_last(self, checkout: Checkout) -> None:
        checkout.start()
        assert b"Subject: " in checkout.shell(_proposed(checkout.said)[2]).out
        checkout.press_ctrl_c()


def _proposed(said: str) -> list[str]:
    """The commands of the banner, which stand indented below the words that announce them."""
    text = said.partition("Try this in another terminal")[2].partition("Ctrl-C")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("  ")]


def _joined(text: str) -> str:
    return re.sub(r"[\\|]\n\s*", lambda found: found[0][0].replace("\\", "") + " ", text).strip()
