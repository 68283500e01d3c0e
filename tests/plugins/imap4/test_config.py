"""The settings' own checks."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.imap4.config import Imap4Config


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_append", 1), ("max_per_account", 0), ("idle_timeout", 60), ("login_timeout", 0), ("append_timeout", 1e9)],
)
def test_values_out_of_range_are_refused_in_words(name: str, value: Any) -> None:
    [problem] = Imap4Config(**{name: value}).problems()
    assert problem.setting == name
    assert problem.text.startswith("must be within ")
    assert problem.remedy.startswith("The default is ")


def test_the_defaults_are_good() -> None:
    config = Imap4Config()
    assert list(config.problems()) == []
    assert [str(bind) for bind in (*config.listen, *config.listen_tls)] == [":143", ":993"]
