"""Steps: the three trees that come from Debian: tool root (amd64), parts (arm64, extracted), base (arm64, installed).

They are the dear ones, so their key is the command line and the package lists, not this file's text. What apt's
mirror holds at the time is not in the key: `make image FRESH=1` asks it anew. Each is known by its packages'
versions, so that asking anew without news rebuilds nothing after it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

from image.build import debian
from image.build.command import BuildError, run
from image.build.toolroot import ToolRoot
from image.build.work import Work

TMPFS = Path("/dev/shm")  # noqa: S108 - only to work in; what is made is moved out
TMPFS_NEEDED = 2 << 30  # bytes

# The day of trixie's release. Scripts of packages write it down (as the day a password was set, say); it must not
# come from the kernel's package, or a base made before a new kernel and one made after it would differ.
BASE_EPOCH = 1754697600

# Debian's own hints for what an appliance needs no page of; copyright files stay for the list of licences.
_NO_DOCUMENTS = (
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
)
# Emulated, these would take minutes for what is done natively later (byte code), or must not exist (host keys).
_PYTHON_HOOKS = "/usr/bin/py3compile /usr/bin/py3clean"
_QUIET_BEFORE = f"""--essential-hook=for f in {_PYTHON_HOOKS}; do
  chroot "$1" dpkg-divert --quiet --local --rename --add $f; ln -s true "$1$f"; done
mkdir -p "$1/etc/ssh"; for k in rsa ecdsa ed25519; do
  echo none > "$1/etc/ssh/ssh_host_${{k}}_key"; echo none > "$1/etc/ssh/ssh_host_${{k}}_key.pub"; done"""
_QUIET_AFTER = f"""--customize-hook=for f in {_PYTHON_HOOKS}; do
  rm -f "$1$f"; chroot "$1" dpkg-divert --quiet --local --rename --remove $f; done
rm -f "$1"/etc/ssh/ssh_host_*"""
_LIST_PACKAGES = """--extract-hook=for deb in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb --field "$deb"; echo; done > "$1/packages\""""

PACKAGES = "image/debian/packages"


def tools_command(checkout: Path) -> list[str]:
    """The words of mmdebstrap for the tool root."""
    include = debian.names(checkout / PACKAGES, "tools")
    return debian.bootstrap(variant="apt", architecture="amd64", include=include, extra=_NO_DOCUMENTS)


def parts_command(checkout: Path) -> list[str]:
    """The words of mmdebstrap for the packages that are extracted only."""
    include = debian.names(checkout / PACKAGES, "parts")
    return debian.bootstrap(variant="extract", architecture="arm64", include=include, extra=(_LIST_PACKAGES,))


def base_command(checkout: Path) -> list[str]:
    """The words of mmdebstrap for the root that is installed."""
    include = debian.names(checkout / PACKAGES, "root")
    extra = (*_NO_DOCUMENTS, _QUIET_BEFORE, _QUIET_AFTER)
    return debian.bootstrap(variant="essential", architecture="arm64", include=include, extra=extra)


def make_tools(work: Work, output: Path) -> None:
    """The tool root, unpacked in `root/`."""
    need_root(tools_command(work.checkout))
    _bootstrap(work, tools_command(work.checkout), output / "root")
    status = (output / "root/var/lib/dpkg/status").read_text()
    _write_versions(output, debian.package_stanzas(status))


def make_parts(work: Work, output: Path) -> None:
    """Kernel, firmware and boot loader in `root/`, `packages.json` about them, and `epoch`: the kernel's date."""
    root = output / "root"
    _bootstrap(work, parts_command(work.checkout), root)
    wanted = debian.names(work.checkout / PACKAGES, "parts")
    stanzas = [
        fields
        for fields in debian.package_stanzas((root / "packages").read_text())
        if fields["package"] in wanted or re.match(r"linux-image-\d", fields["package"])
    ]
    _write_versions(output, stanzas)
    (output / "packages.json").write_text(json.dumps(stanzas, indent=1))
    kernel = kernel_of(root)
    (output / "epoch").write_text(str(int((root / f"boot/vmlinuz-{kernel}").stat().st_mtime)))
    ToolRoot(work["tools"] / "root").run("depmod", "-b", root / "usr", kernel)


def make_base(work: Work, output: Path) -> None:
    """The arm64 root in `root/` and `packages.json` about it."""
    need_emulation()
    with tempfile.TemporaryDirectory(dir=_roomy_place(output)) as place:
        archive = Path(place, "base.tar")
        _bootstrap(work, base_command(work.checkout), archive, epoch=BASE_EPOCH)
        (output / "root").mkdir()
        run(["tar", "--numeric-owner", "--xattrs", "-xpf", archive, "-C", output / "root"])
    stanzas = debian.package_stanzas((output / "root/var/lib/dpkg/status").read_text())
    _write_versions(output, stanzas)
    (output / "packages.json").write_text(json.dumps(stanzas, indent=1))


def kernel_of(root: Path) -> str:
    """The release of the only kernel in a tree. Raises BuildError."""
    found = sorted(path.name for path in (root / "usr/lib/modules").glob("*"))
    if len(found) != 1:
        raise BuildError(f"one kernel is wanted in {root}, found: {', '.join(found) or 'none'}")
    return found[0]


def versions_fingerprint(output: Path) -> str:
    """An output of this module is known by its packages' names and versions."""
    return hashlib.sha256((output / "versions").read_bytes()).hexdigest()[:24]


def need_root(argv: list[str]) -> None:
    """Raise BuildError, with the line to type, unless this is root with mmdebstrap at hand."""
    if os.geteuid() != 0:
        raise BuildError(
            "owners and device nodes of a Debian root need root",
            remedy="type: sudo make image",
        )
    if shutil.which(argv[0]) is None:
        raise BuildError(f"no program {argv[0]!r}", remedy="type: tools/setup image")


def need_emulation() -> None:
    """See to it that arm64 programs run here: native, or by binfmt_misc and qemu-user-static. Raises BuildError."""
    if platform.machine() == "aarch64":
        return
    binfmt = Path("/proc/sys/fs/binfmt_misc")
    remedy = "as root: mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable qemu-aarch64"
    if not (binfmt / "register").exists():
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", binfmt], remedy=remedy)
    if not (binfmt / "qemu-aarch64").exists():
        run(["update-binfmts", "--enable", "qemu-aarch64"], remedy=remedy)
    if not (binfmt / "qemu-aarch64").exists():
        raise BuildError("arm64 programs do not run here (binfmt_misc has no qemu-aarch64)", remedy=remedy)


def _bootstrap(work: Work, argv: list[str], target: Path, *, epoch: int | None = None) -> None:
    need_root(argv)
    if not Path(debian.KEYRING).exists():
        raise BuildError(f"no keys of Debian's archive in {debian.KEYRING}", remedy="type: tools/setup image")
    with tempfile.TemporaryDirectory() as place:
        sources = Path(place, "sources.list")
        sources.write_text(debian.find_mirror().sources())
        env = {"TMPDIR": str(_roomy_place(target.parent))}
        if epoch is not None:
            env["SOURCE_DATE_EPOCH"] = str(epoch)
        remedy = "is the mirror of Debian reachable? See docs/image.md, Mirror"
        # Verbose is not part of the step's settings: it only shows how far apt and dpkg are.
        run([argv[0], "--verbose", *argv[1:], target, sources], env=env, listen=work.note, remedy=remedy)


def _roomy_place(otherwise: Path) -> Path:
    """Memory to work in, if there is enough: dpkg's fsyncs make a disk the slower half."""
    try:
        space = os.statvfs(TMPFS)
    except FileNotFoundError:
        return otherwise
    return TMPFS if space.f_bavail * space.f_frsize >= TMPFS_NEEDED else otherwise


def _write_versions(output: Path, stanzas: list[dict[str, str]]) -> None:
    lines = [f"{fields['package']} {fields['version']} {fields['architecture']}\n" for fields in stanzas]
    (output / "versions").write_text("".join(lines))
