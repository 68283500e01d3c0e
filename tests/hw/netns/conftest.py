from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hw.netns.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    for program in ("dnsmasq", "nft", "ip", "nsenter"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (tools/setup test)")
    lab = Lab(tmp_path)
    yield lab
    lab.close()
