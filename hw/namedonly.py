"""Stand-ins for modules that a library names and that we never use, while the library is imported."""

from __future__ import annotations

import sys


class NamedOnly(type):
    """A class in a module's place: every public name of it is another such class."""

    def __getattr__(cls, name: str) -> NamedOnly:
        if name.startswith("__"):
            raise AttributeError(name)
        return NamedOnly(name, (), {})


def leave_out(*names: str) -> None:
    """Let imports of these modules find a stand-in, unless somebody has the real one."""
    sys.modules.update({name: NamedOnly(name, (), {}) for name in names if name not in sys.modules})  # type: ignore[misc]


def put_back() -> None:
    """Whoever wants one of them from now on gets the real one."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, NamedOnly)]:
        del sys.modules[name]
