"""What a step is given: the checkout, the outputs of the steps before it, and where to tell how it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from image.build.toolroot import ToolRoot


@dataclass(kw_only=True)
class Work:
    """One run of the build. `work["base"]` is the output folder of the step `base`."""

    checkout: Path
    note: Callable[[str], None]
    outputs: dict[str, Path] = field(default_factory=dict)

    def __getitem__(self, step: str) -> Path:
        return self.outputs[step]

    @property
    def tools(self) -> ToolRoot:
        """The tool root."""
        return ToolRoot(self["tools"] / "root")

    @property
    def epoch(self) -> int:
        """Every time stamp in the image: the date of the packaged kernel, in seconds since 1970.

        A date of the inputs, so that the same inputs give the same image, and no date of a commit, so that a
        change of a document makes no new image.
        """
        return int((self["parts"] / "epoch").read_text())

    @property
    def environment(self) -> dict[str, str]:
        """What reproducible tools want to know."""
        return {"SOURCE_DATE_EPOCH": str(self.epoch)}
