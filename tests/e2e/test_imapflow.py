"""imapflow, npm's client: a day of a mailbox, with a second connection that changes what the first has open."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, ROOT, Appliance
from tests.e2e.mailreader import Reader
from tests.e2e.programs import run

MODULES = ROOT / ".venv" / "node" / "node_modules"  # where tools/setup puts what the lock file beside SCRIPT names

ANA = "ana@palomar.test"
SCRIPT = ROOT / "tests" / "e2e" / "node" / "imapflow.cjs"

pytestmark = [pytest.mark.e2e, pytest.mark.programs("node", str(MODULES / "imapflow"))]


@pytest.mark.parametrize(("way", "port"), [("tls", "imaps"), ("starttls", "imap")])
def test_a_day(appliance: Appliance, tmp_path: Path, trust: Path, way: str, port: str) -> None:
    with Reader(appliance) as reader:
        for mailbox in ("INBOX", "Archive"):
            reader.clear(mailbox)
        appliance.deliver(letters.plain("flow zero"))
        appliance.deliver(letters.plain("flow one", lines=("hay, a needle, hay",)))
        appliance.deliver(letters.plain("flow two"))
        appliance.deliver(letters.with_attachment("flow three", letters.noise(30_000)))
        stored = reader.messages()[-1]

        environment = {"NODE_PATH": str(MODULES), "NODE_EXTRA_CA_CERTS": str(trust), "PASSWORD": PASSWORD}
        arguments = (str(SCRIPT), str(appliance.ports[port]), way, ANA)
        said = json.loads(run("node", *arguments, home=tmp_path, environment=environment).out)

        assert said["secure"] is True
        assert {"CONDSTORE", "QRESYNC"} <= set(said["enabled"])
        uses = {one["path"]: one["use"] for one in said["mailboxes"]}
        assert uses["Sent"] == "\\Sent"
        assert uses["INBOX"] == "\\Inbox"
        assert {one["messages"] for one in said["mailboxes"] if one["path"] == "INBOX"} == {4}
        assert said["created"] == "Pigeons/Ñandú & co"

        uid = {one["subject"]: one["uid"] for one in said["first"]}
        assert [*uid] == ["flow zero", "flow one", "flow two", "flow three"]
        assert (said["exists"], said["size"]) == (4, len(stored))
        assert base64.b64decode(said["source"]) == stored
        assert (said["structure"], said["text"]) == ("multipart/mixed", "See the attachment.")
        assert said["found"] == [uid["flow one"]]
        assert said["either"] == [uid["flow zero"], uid["flow two"]]
        assert [one["flags"] for one in said["flagged"]] == [[], ["$Label1", "\\Flagged"], [], []]
        assert (said["copied"], said["moved"]) == ([1], [uid["flow two"]])
        assert said["status"]["messages"] == 1

        assert said["appended"] > max(uid.values())
        assert (said["heard"], said["gone"]) == (5, uid["flow zero"])
        assert [one["subject"] for one in said["last"]] == ["flow one", "flow three", "flow new"]
        assert said["unchanged"] == 0
        assert set(reader.flags()) == {"flow one", "flow three", "flow new"}
        assert set(reader.flags("Archive")) == {"flow two"}
        assert reader.arrivals()["flow new"] == 1_000_000_000
        assert "Pigeons/Renamed" not in reader.mailboxes()
