"""Side by side with postsrsd: with one secret, each makes the other's addresses and takes them back."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.mail.address import Address
from plugins.srs.protocol import forward, reverse
from tests.e2e.appliance_process import answers, wait_for
from tests.ports import free_ports

pytestmark = pytest.mark.programs("postsrsd")

SECRET = b"a secret that both know"
DOMAIN = "ours.test"
LENGTH = 6


class Tables:
    """postsrsd's two tables, by Postfix's tcp_table protocol."""

    def __init__(self, forward_port: int, reverse_port: int) -> None:
        self._ports = {"forward": forward_port, "reverse": reverse_port}

    def ask(self, table: str, address: str) -> str:
        with socket.create_connection(("127.0.0.1", self._ports[table]), timeout=60) as sock:
            sock.sendall(f"get {address}\n".encode())
            answer = b""
            while not answer.endswith(b"\n"):
                answer += sock.recv(4096)
        return answer.decode().strip()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    folder: Path = tmp_path_factory.mktemp("postsrsd")
    (folder / "secret").write_bytes(SECRET + b"\n")
    ports = free_ports(2)
    process = subprocess.Popen(
        ["postsrsd", "-4", f"-s{folder}/secret", f"-d{DOMAIN}", f"-n{LENGTH}", f"-N{LENGTH}",
         f"-f{ports[0]}", f"-r{ports[1]}", "-l127.0.0.1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: all(answers(port) for port in ports), "postsrsd", 60)
        yield Tables(*ports)
    finally:
        process.terminate()
        process.wait(20)


def ours(sender: str, day: int) -> str:
    return str(forward(Address.parse(sender), DOMAIN, SECRET, day=day, hash_length=LENGTH))


@pytest.mark.parametrize(
    "sender",
    [
        "test@otherdomain.com",
        "Test.User+detail=x@Sub.otherdomain.com",
        "SRS0=abcd=AB=first.test=someone@second.test",
        "SRS0+abcd=AB=first.test=someone@second.test",
        "SRS1=abcd=first.test==efgh=AB=zero.test=someone@second.test",
    ],
)
def test_both_make_the_same_address_and_lead_it_back(tables: Tables, sender: str) -> None:
    days = {int(time.time()) // 86_400}
    theirs = tables.ask("forward", sender)
    days.add(int(time.time()) // 86_400)  # midnight may have passed
    assert theirs.lower() in {f"200 {ours(sender, day)}".lower() for day in days}
    made = Address.parse(theirs.removeprefix("200 "))
    back = reverse(made, [SECRET], day=max(days), max_age_days=21, hash_length=LENGTH)
    assert f"200 {back}".lower() == tables.ask("reverse", ours(sender, max(days))).lower()
    if not sender.startswith("SRS"):
        assert str(back).lower() == sender.lower()


def test_both_refuse_what_is_too_old_or_changed(tables: Tables) -> None:
    today = int(time.time()) // 86_400
    assert tables.ask("reverse", ours("a@b.test", today - 30)).startswith("500")
    assert tables.ask("reverse", ours("a@b.test", today).replace("=a@", "=b@")).startswith("500")
