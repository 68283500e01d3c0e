"""Each group of commands, on a store that no appliance holds."""

from __future__ import annotations

import mailbox as stdlib_mailbox
import os
import pwd
from pathlib import Path

import pytest

from appliance.lock import FolderLock
from tests.appliance.cli.conftest import PASSWORD, Shell

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
MESSAGE = (
    "From: Ana <ana@palomar.test>\nTo: luis@palomar.test\nBcc: ana@palomar.test,\n ana@palomar.test\nSubject: x\n\ny\n"
)


def test_accounts_are_added_listed_and_shown(office: Shell) -> None:
    rows = office.good("account", "list", "--json").json
    assert [row["name"] for row in rows] == [ANA, LUIS]
    assert ANA in office.good("account", "list").out
    assert office.good("account", "show", ANA, "--json").json == rows[0]


def test_a_password_is_asked_for_twice(shell: Shell) -> None:
    shell.good("account", "add", ANA, input=f"{PASSWORD}\n{PASSWORD}\n")
    done = shell("account", "password", ANA, input=f"{PASSWORD}\nanother horse\n")
    assert done.code != 0
    assert "do not match" in done.err


def test_a_hash_is_made_and_taken(shell: Shell) -> None:
    made = shell.good("account", "hash", "--password-stdin", input=f"{PASSWORD}\n").out
    assert PASSWORD not in made
    shell.good("account", "add", ANA, "--hash-stdin", input=made)
    shell.good("account", "password", ANA, "--hash-stdin", input=made)
    shell.good("account", "weak", ANA, "on", "--password-stdin", input=f"{PASSWORD}\n")  # it is that password's
    assert shell("account", "add", LUIS, "--hash-stdin", input="$6$salt$hash\n").code == 1


def test_account_settings(office: Shell) -> None:
    office.good("account", "quota", ANA, "2G")
    office.good("account", "disable", ANA)
    office.good("account", "redirect", ANA, "ana@elsewhere.test")
    office.good("account", "weak", ANA, "on", "--password-stdin", input=f"{PASSWORD}\n")
    row = office.good("account", "show", ANA, "--json").json
    assert (row["quota_bytes"], row["enabled"], row["redirect"], row["weak"]) == (
        2 << 30,
        False,
        "ana@elsewhere.test",
        True,
    )
    office.good("account", "enable", ANA)
    office.good("account", "redirect", ANA)
    office.good("account", "weak", ANA, "off")
    row = office.good("account", "show", ANA, "--json").json
    assert (row["enabled"], row["redirect"], row["weak"]) == (True, "", False)


def test_an_application_password_is_shown_once(office: Shell) -> None:
    made = office.good("account", "app-password", "add", ANA, "phone", "--json").json
    assert made["login"] == "ana+phone@palomar.test"
    assert made["password"] not in office.good("account", "app-password", "list", ANA).out
    assert "login:    ana+tablet@palomar.test" in office.good("account", "app-password", "add", ANA, "tablet").out
    office.good("account", "app-password", "remove", ANA, "phone")
    assert [row["label"] for row in office.good("account", "app-password", "list", ANA, "--json").json] == ["tablet"]


def test_deleting_asks_first(office: Shell) -> None:
    assert office("account", "delete", ANA, input="n\n").code != 0
    assert len(office.good("account", "list", "--json").json) == 2
    office.good("account", "delete", ANA, input="y\n")
    office.good("account", "delete", LUIS, "--yes")
    assert office.good("account", "list", "--json").json == []
    assert office.good("account", "list").err == "There are no accounts; add one.\n"


def test_domains_and_aliases(office: Shell) -> None:
    office.good("domain", "add", "example.org", "--kind", "backup")
    office.good("domain", "catch-all", "palomar.test", ANA)
    rows = {row["name"]: row for row in office.good("domain", "list", "--json").json}
    assert rows["example.org"]["kind"] == "backup"
    assert rows["palomar.test"]["catch_all"] == ANA
    office.good("domain", "catch-all", "palomar.test")
    office.good("domain", "remove", "example.org")
    assert len(office.good("domain", "list").out.splitlines()) == 2
    office.good("alias", "add", "office@palomar.test", ANA, LUIS)
    office.good("alias", "remove", "office@palomar.test", LUIS)
    assert office.good("alias", "list", "--json").json == [{"address": "office@palomar.test", "targets": [ANA]}]
    office.good("alias", "remove", "office@palomar.test")


def test_mailboxes(office: Shell) -> None:
    office.good("mailbox", "create", ANA, "Projects/Harbour")
    office.good("mailbox", "rename", ANA, "Projects/Harbour", "Harbour")
    office.good("mailbox", "subscribe", ANA, "Harbour", "--off")
    rows = {row["name"]: row for row in office.good("mailbox", "list", ANA, "--json").json}
    assert not rows["Harbour"]["subscribed"]
    assert office("mailbox", "delete", ANA, "Harbour", input="n\n").code != 0
    office.good("mailbox", "delete", ANA, "Harbour", "--yes")
    assert "Harbour" not in office.good("mailbox", "list", ANA).out


def test_a_maildir_with_subfolders_comes_in_and_goes_out(office: Shell, tmp_path: Path) -> None:
    source = stdlib_mailbox.Maildir(tmp_path / "Maildir")
    message = stdlib_mailbox.MaildirMessage(b"Subject: Harbour\n\nquay\n")
    message.set_subdir("cur")
    message.set_flags("FS")
    source.add(message)
    source.add_folder("Sent.2025").add(b"Subject: Sent\n\ntext\n")
    done = office.good("mailbox", "import", ANA, tmp_path / "Maildir", "--json").json
    assert [(row["mailbox"], row["messages"]) for row in done] == [("INBOX", 1), ("Sent/2025", 1)]
    office.good("mailbox", "import", ANA, tmp_path / "Maildir", "--into", "Old")
    assert {"Old", "Old/Sent/2025"} <= {row["name"] for row in office.good("mailbox", "list", ANA, "--json").json}
    office.good("mailbox", "export", ANA, "INBOX", tmp_path / "out", "--format", "maildir")
    (back,) = stdlib_mailbox.Maildir(tmp_path / "out", create=False)
    assert (back["Subject"], back.get_flags(), back.get_payload()) == ("Harbour", "FS", "quay\n")  # type: ignore[union-attr]


def test_an_mbox_comes_in_and_goes_out(office: Shell, tmp_path: Path) -> None:
    source = stdlib_mailbox.mbox(tmp_path / "in.mbox")
    for number in range(100):
        source.add(b"Subject: %d\n\nFrom here on\n" % number)
    source.close()
    assert "100 messages" in office.good("mailbox", "import", ANA, tmp_path / "in.mbox").out
    office.good("mailbox", "export", ANA, "INBOX", tmp_path / "out.mbox")
    back = [message["Subject"] for message in stdlib_mailbox.mbox(tmp_path / "out.mbox")]
    assert back == [str(number) for number in range(100)]
    assert office("mailbox", "export", ANA, "INBOX", tmp_path / "out.mbox").code == 1


def inbox(office: Shell, account: str, tmp_path: Path) -> list[str]:
    target = tmp_path / f"{account}.mbox"
    target.unlink(missing_ok=True)
    office.good("mailbox", "export", account, "INBOX", target)
    return [message.as_string() for message in stdlib_mailbox.mbox(target)]


def test_a_whole_message_is_sent_from_standard_input(office: Shell, tmp_path: Path) -> None:
    done = office.good("send", "-t", input=MESSAGE)
    assert "accepted as" in done.out
    (message,) = inbox(office, LUIS, tmp_path)
    assert "Subject: x\n" in message
    assert "Bcc" not in message
    assert "\nMessage-ID: <" in message
    assert "\nDate: " in message
    assert len(inbox(office, ANA, tmp_path)) == 1


def test_a_message_is_written_from_flags(office: Shell, tmp_path: Path) -> None:
    office.good("send", "--from", ANA, "--to", LUIS, "--subject", "Füße", "--text", "At one?")
    (message,) = inbox(office, LUIS, tmp_path)
    assert f"From: {ANA}\n" in message
    assert "Subject: =?utf-8?" in message
    assert message.endswith("At one?\n")


def test_text_without_a_header_is_all_text(office: Shell, tmp_path: Path) -> None:
    office.good("send", "-f", ANA, LUIS, input="just words\n")
    (message,) = inbox(office, LUIS, tmp_path)
    assert f"From: {ANA}\n" in message
    assert message.endswith("\n\njust words\n")


def test_what_cron_and_others_tell_sendmail(office: Shell, tmp_path: Path) -> None:
    office.good("alias", "add", "root@palomar.test", ANA)
    text = "To: root\nSubject: Cron\n\ndone\n.\nmore\n"
    office.good("send", "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", input=text)
    office.good("send", "-t", "-oi", "-f", "luis", "-oem", "-odb", "-bm", "-v", "-G", input=text)
    office.good("send", "-ti", "-r", LUIS, "-N", "never", "-R", "hdrs", "-V", "id1", input=text)
    cron, program, _ = inbox(office, ANA, tmp_path)
    assert f"From: CronDaemon <{pwd.getpwuid(os.getuid()).pw_name}@palomar.test>\n" in cron
    assert cron.endswith("\ndone\n.\nmore\n")
    assert program.startswith(f"Return-Path: <{LUIS}>\n")
    done = office("send", "-bp")
    assert (done.code, "remedy: Type: palomar queue list" in done.err) == (1, True)
    assert "remedy: Say never" in office("send", "-N", "often", LUIS, input=text).err


def test_a_refused_recipient_is_an_error(office: Shell) -> None:
    done = office("send", "-f", ANA, "nobody@palomar.test", input=MESSAGE)
    assert done.code == 1
    assert "nobody@palomar.test: 550" in done.err
    assert office("send", "-f", ANA, input=MESSAGE).err.startswith("error: the message has no recipients")
    assert office("send", "--to", LUIS, "--subject", "a\nBcc: x", "--text", "x").code == 1


def test_the_trace_of_a_sent_message(office: Shell) -> None:
    sent = office.good("send", "-t", "--json", input=MESSAGE).json
    rows = office.good("trace", sent["trace_id"], "--json").json
    assert {row["trace_id"] for row in rows} == {sent["trace_id"]}
    told = office.good("trace", LUIS).out
    assert told.startswith(sent["trace_id"])
    assert "intake" in told
    assert "Nothing is known" in office.good("trace", "<no.such@id>").err


@pytest.mark.parametrize("command", ["hold", "release", "retry", "remove"])
def test_queue_commands_want_to_be_told_which(office: Shell, command: str) -> None:
    for arguments in ([], ["--all", "1"]):
        more = ["--yes"] if command == "remove" else []
        done = office("queue", command, *arguments, *more)
        assert (done.code, "say which" in done.err) == (1, True)
    done = office("queue", command, "99.0", *(["--yes"] if command == "remove" else []))
    assert (done.code, "no entry 99.0" in done.err) == (1, True)


def test_an_empty_queue(office: Shell) -> None:
    assert office.good("queue", "list", "--json").json == []
    assert office.good("queue", "list").err == "Nothing waits.\n"
    assert office.good("queue", "flush").out == "0 recipients scheduled\n"
    assert office("queue", "show", "1").code == 1


@pytest.fixture
def waiting(office: Shell) -> Shell:
    """One message waits for two recipients: the appliance does not run, so nobody tries."""
    letter = "From: ana@palomar.test\r\nSubject: one\r\n\r\nhello\r\n"
    with_route = office.config.read_text().replace('["mda"]', '["mda", "relay"]')
    office.config.write_text(with_route)
    office.good("send", "-f", ANA, "a@elsewhere.test", "b@example.org", input=letter)
    return office


def test_what_waits_is_listed_filtered_and_summed_up(waiting: Shell) -> None:
    rows = waiting.good("queue", "list", "--json").json
    assert [row["recipient"] for row in rows] == ["a@elsewhere.test", "b@example.org"]
    assert "a@elsewhere.test" in waiting.good("queue").out
    found = waiting.good("queue", "list", "--json", "--sender", "palomar.test", "example.org", "--newer", "1h").json
    assert [row["recipient"] for row in found] == ["b@example.org"]
    assert waiting.good("queue", "list", "--json", "--older", "2d").json == []
    assert "1 of 2 recipients" in waiting.good("queue", "list", "--limit", "1").err
    assert "20 parsecs" in waiting("queue", "list", "--older", "20 parsecs").err
    lines = waiting.good("queue", "summary").out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["Domain", "Total", "<5m"], ["TOTAL", "2", "2"], ["elsewhere.test", "1", "1"], ["example.org", "1", "1"]
    ]  # fmt: skip
    assert waiting.good("queue", "summary", "--json", "--by", "sender").json["rows"][0]["name"] == "palomar.test"


def test_an_entry_is_explained_exported_and_steered(waiting: Shell, tmp_path: Path) -> None:
    name = waiting.good("queue", "list", "--json").json[0]["name"]
    assert "The next attempt, by relay elsewhere.test, is due" in waiting.good("queue", "explain", name).out
    assert waiting.good("queue", "export", name).out.endswith("Subject: one\r\n\r\nhello\r\n")
    waiting.good("queue", "export", name, tmp_path / "one.eml")
    assert (tmp_path / "one.eml").read_bytes().endswith(b"\r\n\r\nhello\r\n")
    assert "is there already" in waiting("queue", "export", name, tmp_path / "one.eml").err

    assert waiting.good("queue", "hold", name, "--why", "too many").out == "1 recipient held\n"
    told = waiting.good("queue", "explain", name).out
    assert f"palomar queue release {name}" in told
    assert "too many" in told
    assert waiting.good("queue", "release", "--state", "held", "--count").out == "1 recipient\n"
    assert waiting.good("queue", "release", "--state", "held").out == "1 recipient released\n"

    # It asks where more is meant than was named.
    assert "Hold 2 recipients?" in waiting("queue", "hold", "--all", input="n\n").err
    done = waiting.good("queue", "reroute", name, "--host", "mx.elsewhere.test:2525")
    assert done.out == "1 recipient rerouted\n"
    assert waiting.good("queue", "list", "--json").json[0]["next_hop"] == "[mx.elsewhere.test]:2525"
    assert waiting("queue", "reroute", name, "--host", "no/host").code == 1
    assert "say one way" in waiting("queue", "reroute", name).err
    assert waiting.good("queue", "remove", "--bounce", "--why", "closed", "elsewhere.test", "--yes").out == (
        "1 recipient removed\n"
    )
    assert [row["recipient"] for row in waiting.good("queue", "list", "--json").json] == ["b@example.org"]


def test_a_folder_that_another_process_holds(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.commands.context.BUSY_S", 0.0)
    with FolderLock.take(tmp_path / "data"):
        done = shell("account", "list")
    assert done.code == 1
    assert "is in use by another process" in done.err
    assert "remedy:" in done.err
    shell.good("account", "list")


def test_lists_of_members(shell: Shell) -> None:
    usage = shell("list", "add", "team@palomar.test")
    assert (usage.code, "--owner" in usage.err) == (1, True)
    made = shell.good("list", "add", "Team@palomar.test", "ana@x.test", "--owner", "boss@x.test", "--title", "Team")
    assert made.out == "list Team@palomar.test is ready\n"
    joined = shell.good("list", "join", "team@palomar.test", "--stdin", input="# new\nB@x.test\n\nana@x.test\n")
    assert joined.out == "team@palomar.test has 2 member(s)\n"
    assert shell.good("list", "set", "team@palomar.test", "--post", "anyone", "--reply-to-list").code == 0
    assert shell.good("list", "list", "--json").json == [
        {
            "address": "team@palomar.test",
            "title": "Team",
            "owner": "boss@x.test",
            "post": "anyone",
            "reply_to_list": True,
            "members": 2,
        }
    ]
    assert shell.good("list", "members", "team@palomar.test", "--json").json == [
        {"address": "ana@x.test"},
        {"address": "B@x.test"},
    ]
    assert shell("list", "leave", "team@palomar.test", "c@x.test").code == 1
    assert shell.good("list", "leave", "team@palomar.test", "b@X.test").out == "b@X.test left team@palomar.test\n"
    assert shell.good("list", "remove", "team@palomar.test", "--yes").out == "list team@palomar.test is gone\n"
    assert shell("list", "set", "team@palomar.test", "--title", "x").code == 1


def test_a_redirect_that_keeps_a_copy(shell: Shell) -> None:
    shell.good("account", "add", "ana@palomar.test", "--password-stdin", input="correct horse\n")
    kept = shell.good("account", "redirect", "ana@palomar.test", "ana@x.test", "--keep")
    assert kept.out == "mail for ana@palomar.test goes to ana@x.test and stays here too\n"
    assert shell.good("account", "show", "ana@palomar.test", "--json").json["redirect_keep"] is True
    assert shell("account", "redirect", "ana@palomar.test", "--keep").code == 1
    assert shell("account", "redirect", "ana@palomar.test", "Ana@palomar.test").code == 1
    assert shell.good("account", "redirect", "ana@palomar.test").code == 0
    assert shell.good("account", "show", "ana@palomar.test", "--json").json["redirect_keep"] is False


def test_the_language_of_an_account(shell: Shell) -> None:
    shell.good("account", "add", ANA, "--password-stdin", input="correct horse\n")
    assert shell.good("account", "language", ANA, "es").out == f"{ANA} is written to in es\n"
    assert shell.good("account", "show", ANA, "--json").json["language"] == "es"
    assert shell.good("account", "language", ANA).out == f"{ANA} is written to in the language of the appliance\n"
    assert shell.good("account", "show", ANA, "--json").json["language"] == ""
    assert shell("account", "language", ANA, "eo").code == 1
