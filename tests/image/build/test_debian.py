"""Package lists, and the mirror read from apt's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.build import debian
from image.build.command import BuildError

LISTS = Path(__file__).parents[3] / "image/debian"


def test_lists_are_groups_and_names(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# why\nroot  systemd  # init\n\ntools genimage\n")
    assert debian.read_list(path) == [debian.Listed("root", "systemd", 2), debian.Listed("tools", "genimage", 4)]
    assert debian.names(path, "tools") == ["genimage"]


def test_a_bad_line_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("root systemd\nsystemd\n")
    with pytest.raises(BuildError, match=r"list:2: "):
        debian.read_list(path)


@pytest.mark.parametrize("name", ["packages", "modules", "firmware"])
def test_our_lists_are_well_formed_and_without_repetition(name: str) -> None:
    entries = debian.read_list(LISTS / name)
    assert len({(entry.group, entry.name) for entry in entries}) == len(entries)


def test_mirror_from_deb822(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb\n# a comment\nURIs: http://one.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
        "Types: deb\nURIs: http://one.test/debian-security\nSuites: bookworm-security\nComponents: main\n"
    )
    assert debian.find_mirror(tmp_path, {}) == debian.Mirror(
        "http://one.test/debian", "http://one.test/debian-security"
    )


def test_mirror_from_one_line_style_with_options(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://no.test/debian x main\n"
        "deb [arch=amd64 signed-by=/k] http://two.test/debian trixie main\n"
        "deb http://two.test/security trixie-security main\n"
    )
    assert debian.find_mirror(tmp_path, {}) == debian.Mirror("http://two.test/debian", "http://two.test/security")


def test_disabled_and_foreign_sources_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/a.sources").write_text(
        "Types: deb\nEnabled: no\nURIs: http://off.test/debian\nSuites: trixie\n"
    )
    (tmp_path / "sources.list.d/b.list").write_text("deb http://other.test/ubuntu noble main\n")
    with pytest.raises(BuildError, match="no mirror of Debian") as told:
        debian.find_mirror(tmp_path, {})
    assert "PALOMAR_DEBIAN" in told.value.remedy


def test_the_environment_wins(tmp_path: Path) -> None:
    mirror = debian.find_mirror(tmp_path, {"PALOMAR_DEBIAN": "http://mine.test/debian"})
    assert mirror.security == "http://mine.test/debian-security"
    assert "http://mine.test/debian trixie-updates main non-free-firmware" in mirror.sources()


def test_stanzas_are_sorted_and_folded() -> None:
    text = "Package: b\nDepends: x,\n y\n\nPackage: a\nVersion: 1\n"
    assert [fields["package"] for fields in debian.package_stanzas(text)] == ["a", "b"]
    assert debian.package_stanzas(text)[1]["depends"] == "x, y"
