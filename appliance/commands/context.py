"""What every command gets: the configuration when it asks for it, and a way to the appliance.

The appliance is imported where it is needed: `--help` and `--version` answer without it.
"""

from __future__ import annotations

import functools
import getpass
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.document import Document, find_config
from appliance.errors import ConfigError

if TYPE_CHECKING:
    from appliance.app import Loaded
    from appliance.config import CoreConfig
    from appliance.controlclient import Control

BUSY_S = 10.0  # how long a command waits for another one, or for an appliance that is starting
_POLL_S = 0.05


class Palomar:
    """Handed to commands by `click.pass_obj`. Reads nothing and connects to nothing before it is asked."""

    def __init__(self, path: Path | None = None) -> None:
        self._given = path
        self._control: Control | None = None

    @functools.cached_property
    def path(self) -> Path:
        """The configuration file: the one given, or the first of the usual places that has one."""
        return find_config(self._given)

    @functools.cached_property
    def loaded(self) -> Loaded:
        """The whole configuration with its plugins. Raises ConfigError with every problem."""
        from appliance.app import load

        return load(self.path)

    @functools.cached_property
    def core_config(self) -> CoreConfig:
        """The top level of the file, read without loading plugins. Raises ConfigError."""
        from appliance.settings import core_settings

        core, problems = core_settings(Document.read(self.path))
        if problems:
            raise ConfigError(problems)
        return core

    def call(self, name: str, items: Iterable[Any] | None = None, /, **arguments: Any) -> Any:
        """Ask the running appliance, or do it here when none runs. Raises CallError."""
        return self._connected().call(name, items, **arguments)

    def stream(self, name: str, /, **arguments: Any) -> Iterator[Any]:
        """Ask for an answer that comes piece by piece. Raises CallError."""
        return self._connected().stream(name, **arguments)

    def is_running(self, folder: Path | None = None) -> bool:
        """Whether an appliance answers for the data folder, that of this configuration if none is given."""
        from appliance.controlclient import SocketControl

        if self._control is None:
            self._control = SocketControl.connect(folder or self.core_config.data)
        return isinstance(self._control, SocketControl)

    def close(self) -> None:
        """Let go of the appliance, or of the store and its folder."""
        control, self._control = self._control, None
        if control is not None:
            control.close()

    def _connected(self) -> Control:
        """Connect through the socket; where nobody listens, open the store here, as soon as nobody else has it."""
        deadline = time.monotonic() + BUSY_S
        while self._control is None and not self.is_running():
            self._control = self._opened(deadline)
        assert self._control is not None
        return self._control

    def _opened(self, deadline: float) -> Control | None:
        """Open the store; None after a pause when another process has the folder. Raises CallError when time is up."""
        from appliance.app import opened
        from appliance.calls import all_calls, learnt_for
        from appliance.control import CallError
        from appliance.controlclient import DirectControl
        from appliance.lock import FolderBusyError

        try:
            return DirectControl(lambda core: all_calls(core.dispatch), opened(self.loaded), learnt_for)
        except FolderBusyError as error:
            if time.monotonic() >= deadline:
                remedy = f"Wait for it, or end process {error.pid}." if error.pid else "Wait for it, or end it."
                raise CallError(f"{error}, which does not answer", remedy=remedy) from None
            time.sleep(_POLL_S)
            return None
        except PermissionError as error:
            remedy = f"Run the command as root or as the appliance's user, not as {getpass.getuser()}."
            raise CallError(f"cannot use {self.core_config.data}: {error.strerror}", remedy=remedy) from None
