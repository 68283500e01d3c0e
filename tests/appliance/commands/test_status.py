"""`palomar status`: one page, and an exit code that a monitor can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.cli import main
from appliance.commands.status import show_lines, verdict


@pytest.mark.parametrize(
    ("levels", "code"),
    [(("info",), 0), (("info", "warning"), 3), (("warning", "error", "info"), 4)],
)
def test_the_worst_line_counts(levels: tuple[str, ...], code: int) -> None:
    assert verdict([("label", "value", level) for level in levels]) == code


def test_lines_that_want_attention_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    show_lines([("Disk", "full\x1b[2J", "warning"), ("Version", "1", "info")])
    assert capsys.readouterr().out == "Disk     warning: full\ufffd[2J\nVersion  1\n"


def test_an_appliance_that_does_not_run_is_broken(tmp_path: Path) -> None:
    config = tmp_path / "palomar.toml"
    config.write_text('plugins = ["mda"]\n')
    with CliRunner().isolation() as (out, _, _):
        assert main(["--config", str(config), "status"]) == 4
        assert b"does not run" in out.getvalue()
    with CliRunner().isolation() as (out, _, _):
        assert main(["--config", str(config), "status", "--json"]) == 4
        found = json.loads(out.getvalue())
    assert (found["well"], found["lines"][0]["level"]) == (False, "error")
    assert found["lines"][-1] == {"label": "Configuration", "value": str(config), "level": "info"}
    assert not (tmp_path / "data").exists()  # looking makes nothing
