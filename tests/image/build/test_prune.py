"""What the root leaves out."""

from __future__ import annotations

from pathlib import Path

from image.build.prune import EXCLUDES, Rules, keep_copyrights, prune

RULES = Rules.parse(
    "# comment\n/usr/share/doc/*\n/usr/share/locale/*\n!/usr/share/locale/C*\n*/__pycache__*\n/boot/*\n"
)


def make(tree: Path, *names: str) -> None:
    for name in names:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")


def test_the_last_match_decides() -> None:
    assert RULES.excludes("/usr/share/locale/de/x.mo")
    assert not RULES.excludes("/usr/share/locale/C.utf8/x")
    assert not RULES.excludes("/usr/bin/x")
    assert RULES.excludes("/usr/lib/python3/__pycache__/x.pyc")


def test_prune_deletes_files_links_and_empty_folders_and_counts(tmp_path: Path) -> None:
    make(tmp_path, "usr/share/doc/a/readme", "usr/share/locale/C/x", "usr/share/locale/de/x", "usr/bin/x", "boot/k")
    (tmp_path / "boot/link").symlink_to("/usr/bin")
    assert prune(tmp_path, RULES) == 4 * 3 + len("/usr/bin")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir())
    assert left == ["usr/bin/x", "usr/share/locale/C/x"]
    assert not (tmp_path / "usr/share/doc/a").exists()
    assert (tmp_path / "usr/share/doc").is_dir()


def test_links_are_not_followed(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    make(outside, "kept")
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/out").symlink_to(outside)
    prune(tree, RULES)
    assert (outside / "kept").exists()
    assert not (tree / "boot/out").is_symlink()


def test_copyrights_are_kept_outside(tmp_path: Path) -> None:
    make(tmp_path, "usr/share/doc/bash/copyright", "usr/share/common-licenses/GPL-3")
    keep_copyrights(tmp_path, tmp_path / "kept")
    assert sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*")) == [
        "bash",
        "common-licenses",
        "common-licenses/GPL-3",
    ]


def test_our_own_list_keeps_what_runs_and_drops_what_is_unique() -> None:
    rules = Rules.parse((Path(__file__).parents[3] / EXCLUDES).read_text())
    for path in ("/usr/bin/python3.13", "/usr/sbin/nft", "/etc/ssl/certs/ca-certificates.crt", "/usr/bin/bash"):
        assert not rules.excludes(path), path
    for path in ("/etc/machine-id", "/etc/hostname", "/var/lib/dpkg/status", "/usr/bin/perl", "/etc/resolv.conf"):
        assert rules.excludes(path), path
