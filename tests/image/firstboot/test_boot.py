"""First and later starts: what is taken, what is told, and what is left alone."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import tomllib
from pathlib import Path

from image.firstboot.boot import status_file
from image.firstboot.durable import Disk
from image.firstboot.places import CONFIG_NAME, PRESEED_NAME, STATUS_NAME
from image.firstboot.system import run_palomar
from tests.image.firstboot.conftest import Card

OFFICE = """\
# our office
hostname = "mail.example.org"
domains = ["example.org"]

[setup]
time_zone = "Europe/Madrid"

[[setup.accounts]]
name = "ana@example.org"
password = "correct horse"   # she knows it

[[smarthost.hosts]]
host = "smtp.provider.example"
username = "office"
password = 's3cret-relay'
"""


def accounts(card: Card) -> list[str]:
    config = str(card.places.config / CONFIG_NAME)
    done = run_palomar(card.places, "--config", config, "account", "list", "--json")
    return [row["name"] for row in json.loads(done.out)]


def test_the_untouched_template_brings_up_an_appliance_with_a_name_of_its_own(card: Card) -> None:
    report = card.boot()
    assert not report.failures
    assert not report.outcome.problems
    assert tomllib.loads(card.effective)["hostname"] == f"{report.name}.local"
    for told in (report.name, report.setup_code, report.fingerprint, "1.2.3", "Next step", "SSH:          off"):
        assert told
        assert told in card.status
    assert accounts(card) == []
    assert not (card.places.identity / "ssh/authorized_keys").exists()


def test_secrets_move_and_comments_stay(card: Card) -> None:
    card.put(OFFICE)
    report = card.boot()
    assert report.outcome.problems == ()
    left = card.read()
    assert "correct horse" not in left
    assert "s3cret-relay" not in left
    assert "# she knows it" in left
    assert left.startswith("# our office\n")
    assert "s3cret-relay" in card.effective
    assert "setup" not in tomllib.loads(card.effective)
    assert (card.places.config / CONFIG_NAME).stat().st_mode & 0o777 == 0o640
    assert "does not erase" in card.status
    assert accounts(card) == ["ana@example.org"]
    assert b"correct horse" not in b"".join(path.read_bytes() for path in card.places.data.rglob("*") if path.is_file())
    assert (card.places.etc / "localtime").resolve() == card.places.zoneinfo / "Europe/Madrid"


def test_the_second_start_touches_nothing(card: Card) -> None:
    card.put(OFFICE)
    card.boot()
    before = card.snapshot()
    data = {path: path.stat().st_mtime_ns for path in card.places.data.rglob("*")}
    report = card.boot()
    assert card.snapshot() == before
    assert {path: path.stat().st_mtime_ns for path in card.places.data.rglob("*")} == data
    assert report.outcome.accounts == ("ana@example.org",)


def test_an_edited_file_is_taken_again_and_stored_secrets_keep_their_values(card: Card) -> None:
    card.put(OFFICE)
    card.boot()
    first = "[[smarthost.hosts]]\nhost = 'other.example'\nsenders = ['a.example']\n\n[[smarthost.hosts]]"
    card.put(card.read().replace("[[smarthost.hosts]]", first))
    report = card.boot()
    assert report.outcome.problems == ()
    hosts = tomllib.loads(card.effective)["smarthost"]["hosts"]
    assert [host.get("password") for host in hosts] == [None, "s3cret-relay"]


def test_a_broken_file_leaves_the_last_good_one_in_force(card: Card) -> None:
    card.put(OFFICE)
    card.boot()
    good = card.effective
    card.put(card.read() + "\n[smtp]\nmax_sise = 3\n[nonsense]\n")
    report = card.boot()
    assert card.effective == good
    line = card.read().splitlines().index("max_sise = 3") + 1
    assert f"palomar.toml, line {line}: [smtp.max_sise]" in card.status
    assert "Did you mean" in card.status
    assert "[nonsense]" in card.status
    assert "last good configuration" in card.status
    assert len(report.outcome.problems) == 2
    notes = (card.places.runtime / "notes/firstboot").read_text()
    assert notes.startswith("error: palomar.toml:")
    before = card.snapshot()
    card.boot()
    assert card.snapshot() == before


def test_without_any_good_file_defaults_come_up(card: Card) -> None:
    card.put("hostname = “mail.example.org”\n")
    report = card.boot()
    assert "straight quotes" in card.status
    assert "palomar.toml, line 1" in card.status
    assert tomllib.loads(card.effective)["hostname"] == f"{report.name}.local"
    assert report.fingerprint


def test_what_a_reset_forgot_must_be_written_again(card: Card) -> None:
    card.put(OFFICE)
    card.boot()
    edited = card.read() + "# edited\n"
    card.put(edited)
    card.put("", "RESET")
    report = card.boot()
    assert "RESET" not in card.snapshot()
    assert "All mail is still there" in card.status
    assert any("Write it again" in one.remedy for one in report.outcome.problems)
    assert accounts(card) == ["ana@example.org"]


def test_a_reset_of_everything_wants_words(card: Card) -> None:
    card.put(OFFICE)
    name = card.boot().fingerprint
    card.put("please", "RESET-ALL")
    card.boot()
    assert "delete all mail" in card.status
    assert accounts(card) == ["ana@example.org"]
    card.put("Delete all\r\nmail", "reset-all.TXT")
    (card.places.boot / "RESET-ALL").unlink()
    report = card.boot()
    assert report.fingerprint != name
    assert "All mail was deleted" in card.status
    assert accounts(card) == []
    assert card.read().startswith("# Palomar reads this file")
    before = card.snapshot()
    assert set(before) == {"config.txt", CONFIG_NAME, STATUS_NAME}


def test_a_reset_may_delete_mail_and_keep_the_identity(card: Card) -> None:
    card.put(OFFICE)
    before = card.boot()
    card.put("delete all mail", "RESET")
    after = card.boot()
    assert (after.fingerprint, after.name) == (before.fingerprint, before.name)
    assert accounts(card) == []


def test_a_missing_boot_partition_stops_nothing(card: Card) -> None:
    card.put(OFFICE)
    card.boot()
    good = card.effective
    for path in card.places.boot.iterdir():
        path.unlink()
    report = card.boot()
    assert card.effective == good
    assert any("boot partition" in one.text for one in report.outcome.problems)
    assert "boot partition is not there" in (card.places.runtime / "console.txt").read_text()
    assert list(card.places.boot.iterdir()) == []


def test_a_lost_file_comes_back_blanked(card: Card) -> None:
    card.put(OFFICE)
    card.boot()
    left = card.read()
    (card.places.boot / CONFIG_NAME).unlink()
    (card.places.boot / f"{CONFIG_NAME}.NEW").write_text("half")
    card.boot()
    assert card.read() == left
    assert f"{CONFIG_NAME}.NEW" not in card.snapshot()


def test_addresses_come_later_and_are_remembered(card: Card) -> None:
    card.boot()
    assert "none yet" in card.status
    hw = card.places.run / "palomar-hw"
    hw.mkdir()
    state = {
        "settled": True,
        "mdns_name": "palomar-1a2b.local",
        "nics": [{"name": "eth0", "mac": "dc:a6:32:00:1a:2b"}],
        "addresses": [{"nic": "eth0", "address": "192.0.2.7/24", "source": "dhcp"}],
    }
    (hw / "state.json").write_text(json.dumps(state))
    status_file(card.places, Disk())
    assert "192.0.2.7 (eth0)" in card.status
    assert "dc:a6:32:00:1a:2b" in card.status
    before = card.snapshot()
    card.boot()
    (hw / "state.json").write_text(json.dumps(state | {"addresses": [], "temperature": 50}))
    status_file(card.places, Disk())
    assert card.snapshot() == before


def test_the_imager_s_file_is_understood_and_the_rest_is_told(card: Card) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVudXNlZHVudXNlZHVudXNlZHVudXNlZHVudXNlZDEx ana@desk"
    card.put_preseed(
        'config_version = "1.0"\n[system]\nhostname = "office"\n[user]\nname = "pi"\npassword = "$y$j9T$abc$def"\n'
        f'[ssh]\nenabled = true\nauthorized_keys = [\n  "{key}",\n]\n[locale]\ntimezone = "Europe/Madrid"\n'
        'keymap = "es"\n[runcmd]\nlate = ["reboot"]\n'
    )
    report = card.boot()
    assert report.outcome.problems == ()
    assert tomllib.loads(card.effective)["hostname"] == "office"
    assert (card.places.identity / "ssh/authorized_keys").read_text() == f"{key}\n"
    assert (card.places.identity / "ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    told = card.status
    assert "rpi-preseed.toml:5: user.name is ignored" in told
    assert "rpi-preseed.toml:16: runcmd.late is ignored" in told
    assert "$y$" not in card.read(PRESEED_NAME)
    assert (card.places.etc / "localtime").resolve() == card.places.zoneinfo / "Europe/Madrid"
    before = card.snapshot()
    card.boot()
    assert card.snapshot() == before


def test_randomness_is_waited_for_with_a_word(card: Card) -> None:
    ready: list[bool] = []

    def random(size: int, flags: int) -> bytes:
        if flags and not ready:
            raise BlockingIOError
        ready.append(True)
        return bytes(range(size))

    card.boot(random=random)
    assert any("randomness" in told for told in card.told)


def test_a_palomar_that_cannot_be_asked_stops_nothing(card: Card) -> None:
    card.put(OFFICE)
    card.places = dataclasses.replace(card.places, palomar=("/nonexistent/palomar",))
    report = card.boot()
    assert "/nonexistent/palomar" in card.status
    assert tomllib.loads(card.effective)["hostname"] == f"{report.name}.local"
    assert "correct horse" in card.read()  # nothing was taken, so it is still needed


class FullDisk(Disk):
    """No room for anything new."""

    def write(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> bool:
        if path.exists() and path.read_bytes() == data:
            return False
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_data_partition_keeps_what_is_in_force(card: Card) -> None:
    card.put(OFFICE)
    card.boot()
    good = card.effective
    card.put(card.read().replace("(stored", "new-password (stored").replace("office", "other", 1))
    card.boot(FullDisk())
    assert card.effective == good
    assert "No space left" in card.status
    assert "Make room" in card.status
    assert "new-password" in card.read()
    card.boot()
    assert "No space left" not in card.status
    assert card.effective != good


WLAN = 'config_version = "1.0"\n[wlan]\nssid = "Office"\npassword = "geheimnis"\npassword_encrypted = false\n'


def test_the_imager_s_wi_fi_is_stored_and_blanked(card: Card) -> None:
    card.put_preseed(WLAN + 'hidden = false\ncountry = "DE"\n')
    report = card.boot()
    assert report.outcome.problems == ()
    assert "geheimnis" not in card.read(PRESEED_NAME)
    wifi = {"ssid": "Office", "psk": "geheimnis", "country": "DE"}
    assert tomllib.loads(card.effective)["network"]["wifi"] == wifi
    card.put("# edited: what the Imager wrote still counts\n")
    card.boot()
    assert tomllib.loads(card.effective)["network"]["wifi"] == wifi


def test_a_mistake_in_the_imager_s_file_is_told_there(card: Card) -> None:
    card.put_preseed(WLAN)
    card.put(OFFICE)
    card.boot()
    assert tomllib.loads(card.effective)["hostname"] == "mail.example.org"
    assert "rpi-preseed.toml: [network.wifi" in card.status
    assert "country" in card.status
    card.put_preseed('config_version = "2.0"\n')
    card.boot()
    assert "rpi-preseed.toml, line 1: [config_version]" in card.status
