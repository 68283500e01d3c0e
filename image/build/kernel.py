"""Step: kernel, the listed modules with what they depend on, device trees, and the Pi's Wi-Fi firmware."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from image.boards.boards import Board, read_boards, undriven
from image.build import debian
from image.build.command import BuildError
from image.build.roots import kernel_of
from image.build.work import Work

MODULES = "image/debian/modules"
FIRMWARE = "image/debian/firmware"


def module_name(path: str) -> str:
    """The module's name for `kernel/drivers/rtc/rtc-ds1307.ko.xz`: dashes and underscores are one to the kernel."""
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


@dataclass(frozen=True)
class ModuleIndex:
    """What depmod says about a kernel's modules."""

    paths: dict[str, str]
    """Name → path below the kernel's folder."""
    needs: dict[str, list[str]]
    """Name → names it depends on, soft ones too."""
    builtin: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> ModuleIndex:
        """Read modules.dep, .softdep, .alias and .builtin of `/usr/lib/modules/RELEASE`."""
        paths: dict[str, str] = {}
        needs: dict[str, list[str]] = {}
        for line in (folder / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            paths[module_name(path)] = path
            needs[module_name(path)] = [module_name(other) for other in rest.split()]
        aliases = _plain_aliases(folder / "modules.alias")
        for name, wished in _soft_dependencies(folder / "modules.softdep"):
            found = [each for word in wished for each in (aliases.get(word) or [word.replace("-", "_")])]
            needs.get(name, []).extend(each for each in found if each in paths)
        builtin = (module_name(line) for line in (folder / "modules.builtin").read_text().splitlines())
        return cls(paths, needs, frozenset(builtin))

    def closure(self, listed: Iterable[debian.Listed], where: str) -> list[str]:
        """The modules of a list and all they need, sorted. Raises BuildError for one this kernel does not have."""
        wanted: set[str] = set()
        for entry in listed:
            name = entry.name.rstrip("?").replace("-", "_")
            if name in self.paths:
                wanted |= self._with_needs(name)
            elif name not in self.builtin and not entry.name.endswith("?"):
                raise BuildError(
                    f"{where}:{entry.line}: the packaged kernel has no module {name!r}",
                    remedy="correct the name, or mark it with ? if it comes with a later kernel",
                )
        return sorted(wanted)

    def _with_needs(self, name: str) -> set[str]:
        found, waiting = set(), [name]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += self.needs[each]
        return found


def _plain_aliases(path: Path) -> dict[str, list[str]]:
    """Aliases that are plain words, as the names of algorithms are: what soft dependencies ask for."""
    aliases: dict[str, list[str]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and ":" not in words[1]:
            aliases.setdefault(words[1], []).append(words[2].replace("-", "_"))
    return aliases


def _soft_dependencies(path: Path) -> Iterable[tuple[str, list[str]]]:
    """What a module wants loaded around it, and what modules.dep does not tell (`softdep genet pre: mdio-...`)."""
    for line in path.read_text().splitlines() if path.exists() else ():
        words = line.split()
        if len(words) > 2 and words[0] == "softdep":
            yield words[1].replace("-", "_"), [word for word in words[2:] if word not in ("pre:", "post:")]


def make_kernel(work: Work, output: Path) -> None:
    """`root/` (modules, firmware), `vmlinuz`, `dtb/`, `initramfs-modules` (names), `config`."""
    parts = work["parts"] / "root"
    release = kernel_of(parts)
    source = parts / "usr/lib/modules" / release
    target = output / "root/usr/lib/modules" / release
    listed = debian.read_list(work.checkout / MODULES)
    index = ModuleIndex.read(source)
    early = index.closure((entry for entry in listed if entry.group == "initramfs"), MODULES)
    for name in index.closure(listed, MODULES):
        copy_module(source / index.paths[name], target / index.paths[name].removesuffix(".xz"))
    for path in source.glob("modules.*"):
        if path.name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            shutil.copyfile(path, target / path.name)
    work.tools.run("depmod", "-b", output / "root/usr", release)
    (output / "initramfs-modules").write_text("".join(f"{name}\n" for name in early))
    shutil.copyfile(parts / f"boot/vmlinuz-{release}", output / "vmlinuz")
    shutil.copyfile(parts / f"boot/config-{release}", output / "config")
    _copy_device_trees(parts / f"usr/lib/linux-image-{release}", output / "dtb", work)
    _copy_firmware(work, parts, output / "root")


def copy_module(source: Path, target: Path) -> None:
    """Copy one module uncompressed: the root's own compression does better, and the kernel need not unpack xz."""
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    target.write_bytes(lzma.decompress(data) if source.suffix == ".xz" else data)


def _copy_device_trees(source: Path, target: Path, work: Work) -> None:
    target.mkdir()
    for board in read_boards(work.checkout / "image/boards"):
        for name in board.device_trees:
            found = source / "broadcom" / name
            if not found.exists():
                raise BuildError(f"{board.name}: the packaged kernel has no device tree {name}")
            shutil.copyfile(found, target / name)


def _copy_firmware(work: Work, parts: Path, root: Path) -> None:
    """Copy the listed firmware. A symlink is followed, so that each name is a file of its own."""
    source, target = parts / "usr/lib/firmware", root / "usr/lib/firmware"
    for entry in debian.read_list(work.checkout / FIRMWARE):
        found = sorted(source.glob(entry.name))
        if not found:
            raise BuildError(f"{FIRMWARE}:{entry.line}: no firmware {entry.name!r} in the packages")
        for path in found:
            copy = target / path.relative_to(source)
            # The wireless rules are alternatives that a script would link; Debian's kernel trusts Debian's.
            copy = copy.with_name(copy.name.removesuffix("-debian"))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def unsupported(kernel: Path, boards: Iterable[Board]) -> list[str]:
    """In words, for each board that this kernel cannot serve, what it lacks. `kernel` is the parts' tree."""
    folder = kernel / "usr/lib/modules" / kernel_of(kernel)
    lacking = ((board, undriven(board, folder)) for board in boards)
    return [
        f"{board.title}: kernel {folder.name} has no driver for its {', '.join(needs)}"
        for board, needs in lacking
        if needs
    ]
