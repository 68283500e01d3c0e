"""`python -m image.build`: make the SD-card image. `make image` calls this."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from image.boards.boards import BoardError
from image.build.command import BuildError
from image.build.pipeline import build, publish, steps, tell_boards
from image.build.progress import Progress

CHECKOUT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Build; 0 when the image is there, 1 when something failed (told on standard error)."""
    parser = argparse.ArgumentParser(prog="python -m image.build", description="Make the SD-card image.")
    parser.add_argument("--until", metavar="STEP", choices=[step.name for step in steps(CHECKOUT)], help="last step")
    parser.add_argument("--fresh", action="store_true", help="ask Debian's mirror for newer packages")
    options = parser.parse_args(arguments)
    chain = steps(CHECKOUT)
    progress = Progress(len(chain))
    try:
        work = build(CHECKOUT, until=options.until, fresh=options.fresh, chain=chain, progress=progress)
        if "parts" in work.outputs:
            tell_boards(work, progress)
        if "products" in work.outputs:
            for path in publish(work):
                progress.say(f"{path.stat().st_size / 2**20:9.1f} MiB  build/{path.name}")
    except (BuildError, BoardError) as error:
        progress.say(f"image: {error}")
        if remedy := getattr(error, "remedy", ""):
            progress.say(f"image: what to do: {remedy}")
        return 1
    except PermissionError as error:
        progress.say(f"image: {error}")
        progress.say("image: what to do: type: sudo make image")
        return 1
    except KeyboardInterrupt:
        progress.say("image: stopped; what is done is kept")
        return 130
    progress.say(f"image: {progress.total():.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
