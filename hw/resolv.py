"""Write resolv.conf and load firewall rules: the two things that are not the kernel's netlink."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

NFT_S = 60.0
"""What an ordinary ruleset needs on a board that is busy starting is a few seconds."""
_HEAD = "# Written by palomar-hw at each change of the network; settings: [network] dns.\n"


def write_resolv_conf(path: Path, servers: Sequence[str], search: Sequence[str] = ()) -> None:
    """Name the resolvers, best first, and the search domains. Without any the file has no such line."""
    lines = [f"nameserver {server}\n" for server in servers]
    if search:
        lines.append(f"search {' '.join(search)}\n")
    # One dead resolver must cost seconds, not the default's quarter of a minute.
    write_whole(path, (_HEAD + "".join(lines) + "options timeout:2 attempts:2 edns0\n").encode())


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file by one rename, so that readers see the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)


def load_rules(document: bytes) -> None:
    """Give nft its rules, which it takes whole or not at all. Raises OSError with its words."""
    try:
        done = subprocess.run(["nft", "-j", "-f", "-"], input=document, capture_output=True, timeout=NFT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"nft did not end within {NFT_S:.0f} s") from error
    if done.returncode:
        raise OSError(done.stderr.decode("utf-8", "replace").strip().partition("\n")[0] or "nft failed")
