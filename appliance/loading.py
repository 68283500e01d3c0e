"""Finding plugins by name, and the checks they pass before they are used.

A name is looked up in three places, all by the same door: our own packages below `plugins`, the entry-point group
`palomar.plugins` of installed distributions, and the folder of single files that the configuration names.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pluggy

from appliance import hookspecs
from appliance.errors import PluginError

GROUP = "palomar.plugins"
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


class UnknownPluginError(PluginError):
    """No plugin of that name is to be found."""


def known_plugins(folder: Path | None = None) -> list[str]:
    """Names of all plugins that could be loaded, for messages and completion."""
    names = set(_entry_points()) | set(builtin_names())
    if folder is not None and folder.is_dir():
        names |= {file.stem for file in folder.glob("*.py")}
    return sorted(names)


def load(names: Sequence[str], folder: Path | None = None) -> tuple[pluggy.PluginManager, list[tuple[str, str]]]:
    """Load the named plugins; the first named is called first.

    Returns the manager with every plugin that passed, and (name, what is wrong) for each that did not.
    """
    manager = pluggy.PluginManager("palomar")
    manager.add_hookspecs(hookspecs)
    problems = []
    announced = _entry_points()  # once: it reads a file of every installed distribution
    for name in reversed(names):  # pluggy calls the last registered first
        try:
            if manager.has_plugin(name):
                raise PluginError("is named twice")
            register(manager, name, _find(name, folder, announced))
        except PluginError as error:
            problems.append((name, str(error)))
    return manager, problems[::-1]


def register(manager: pluggy.PluginManager, name: str, plugin: object) -> None:
    """Add one plugin object after checking its hooks. Raises PluginError in words."""
    wrong = _misfits(manager, plugin)
    if wrong:
        raise PluginError("; ".join(wrong))
    try:
        manager.register(plugin, name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(str(error).replace("\n", " ")) from error


def _misfits(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    wrong = []
    hooks = 0
    for name in dir(plugin):
        if isinstance(inspect.getattr_static(plugin, name, None), ModuleType) and _is_hook(name):
            # Importing a submodule puts it into its package, in the place of the function of that name.
            wrong.append(f"has a module named as the hook {name!r}; rename the module")
            continue
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        hooks += 1
        spec = getattr(hookspecs, options.get("specname") or name, None)
        if not _is_hook(options.get("specname") or name):
            wrong.append(f"implements {name!r}, which is no hook")
            continue
        if options.get("hookwrapper") or options.get("wrapper"):
            wrong.append(f"{name} is a wrapper; hooks are combined by their rule, not wrapped")
        if inspect.iscoroutinefunction(spec) != inspect.iscoroutinefunction(getattr(plugin, name)):
            wrong.append(f"{name} must be {'async def' if inspect.iscoroutinefunction(spec) else 'def'}")
    return wrong if hooks else ["implements no hook"]


def _is_hook(name: str) -> bool:
    return hasattr(getattr(hookspecs, name, None), "rule_combine")


def _find(name: str, folder: Path | None, announced: Mapping[str, importlib.metadata.EntryPoint]) -> ModuleType:
    if not _NAME.fullmatch(name):
        raise UnknownPluginError("is no plugin name (lower-case words, dots between them)")
    finders: list[Callable[[], ModuleType]] = []
    if _is_builtin(name):
        finders.append(lambda: importlib.import_module(f"plugins.{name}"))
    if (entry := announced.get(name)) is not None:
        finders.append(entry.load)
    file = folder / f"{name}.py" if folder is not None else None
    if file is not None and file.is_file():
        finders.append(lambda: _from_file(name, file))
    if not finders:
        raise UnknownPluginError("there is no such plugin")
    if len(finders) > 1:
        raise PluginError("there are two plugins of this name; rename the one that is yours")
    try:
        return finders[0]()
    except (Exception, SystemExit) as error:
        raise PluginError(f"cannot be imported: {error!r}") from error


def _from_file(name: str, file: Path) -> ModuleType:
    full_name = f"palomar_plugin_{name}"
    spec = importlib.util.spec_from_file_location(full_name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module


def _is_builtin(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"plugins.{name}") is not None
    except ModuleNotFoundError:
        return False


def builtin_names() -> list[str]:
    """Names of the plugins that come with the core; those of a family ("spam.spf") are folders inside of its own."""
    spec = importlib.util.find_spec("plugins")
    names: set[str] = set()
    for root in spec.submodule_search_locations or () if spec is not None else ():
        inner = {file.parent.relative_to(root).parts for file in Path(root).glob("*/*/__init__.py")}
        single = {file.parent.name for file in Path(root).glob("*/__init__.py")}
        names |= {".".join(parts) for parts in inner} | single - {family for family, _ in inner}
    return sorted(names)


def own_names() -> list[str]:
    """Names of the plugins that come with Palomar: the folders of `plugins`, and what its distribution announces."""
    ours = [name for name, entry in _entry_points().items() if entry.dist is not None and entry.dist.name == "palomar"]
    return sorted({*builtin_names(), *ours})


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
