"""Step: the root without our code: Debian's base, pruned, with kernel modules, our files, accounts and units."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from image.build.command import run
from image.build.environment import compile_tree
from image.build.prune import EXCLUDES, Rules, keep_copyrights, prune
from image.build.work import Work

OVERLAY = "image/rootfs"


def make_system(work: Work, output: Path) -> None:
    """`root/`, `copyrights/` and `packages.json` (Debian's packages in it, for the list of licences)."""
    root = output / "root"
    run(["cp", "-a", "--reflink=auto", work["base"] / "root", root])
    for tree in (root, work["parts"] / "root"):
        keep_copyrights(tree, output / "copyrights")
    prune(root, Rules.parse((work.checkout / EXCLUDES).read_text()))
    run(["cp", "-a", f"{work['kernel']}/root/.", root])
    lay_over(work.checkout / OVERLAY, root)
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").symlink_to("/run/palomar-hw/resolv.conf")
    for name in ("boot", "boot/palomar", "data", "dev", "proc", "run", "sys", "tmp", "var", "mnt"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    work.tools.run("systemd-sysusers", f"--root={root}", env=work.environment)
    work.tools.run("systemctl", f"--root={root}", "preset-all", env=work.environment)
    for leftover in ("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock"):
        (root / leftover).unlink(missing_ok=True)
    for library in sorted((root / "usr/lib").glob("python3.*")):
        compile_tree(work, root, str(library.relative_to(root)))
    packages = [json.loads((work[step] / "packages.json").read_text()) for step in ("base", "parts")]
    (output / "packages.json").write_text(json.dumps([*packages[0], *packages[1]], indent=1))


def lay_over(overlay: Path, root: Path) -> None:
    """Copy our files over the root as root's: folders 0755, files 0644 or 0755 if executable, links as they are."""
    for folder, folders, files in os.walk(overlay):
        folders.sort()
        place = root / os.path.relpath(folder, overlay)
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*files, *linked]):
            source, target = Path(folder, name), place / name
            if target.is_symlink() or target.is_file():
                target.unlink()
            if source.is_symlink():
                target.symlink_to(os.readlink(source))
            else:
                shutil.copyfile(source, target)
                target.chmod(0o755 if source.stat().st_mode & 0o111 else 0o644)
