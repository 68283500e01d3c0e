"""mbox, Maildir and single messages: in, out, and back again."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.commands import mailfiles
from appliance.commands.mailfiles import Letter, MboxWriter, read, read_mbox, sources, writer
from appliance.control import CallError

HARBOUR = b"From: ines@example.org\r\nSubject: Harbour\r\n\r\nFrom the quay.\r\n>From there\r\n"
MBOX = b"""From ines@example.org Tue Nov 24 06:40:10 2026
From: ines@example.org
Status: RO
X-Status: AF
Subject: Harbour

>From the quay.
>>From there

From - Tue Nov 24 06:40:11 2026 +0000
Subject: Second

From here is no separator: no empty line before it.

not
From neither
From MAILER-DAEMON nonsense
"""


def in_utf7(name: bytes) -> str:
    return name.decode().replace("&AOQ-", "ä")


def letters(data: bytes) -> list[Letter]:
    return [letter for letter, _ in read_mbox(io.BytesIO(data))]


def test_an_mbox_is_split_unquoted_and_its_status_becomes_flags() -> None:
    first, second = letters(MBOX)
    assert first == Letter(HARBOUR, ("\\Seen", "\\Answered", "\\Flagged"), 1795502410)
    assert second.data.startswith(b"Subject: Second\r\n\r\nFrom here")
    assert second.data.endswith(b"From MAILER-DAEMON nonsense\r\n")
    assert (second.flags, second.at) == ((), 1795502411)


def test_the_octets_taken_add_up_to_the_file() -> None:
    assert sum(took for _, took in read_mbox(io.BytesIO(MBOX))) == len(MBOX)


@pytest.mark.parametrize("data", [b"", b"\n", b"nothing\n", b"Subject: x\n\nFrom y\n"])
def test_what_is_no_mbox_has_no_letters(data: bytes) -> None:
    assert letters(data) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"From x\n", b""),
        (b"From x\n\n", b"\r\n"),
        (b"From x\n\ntext\n", b"\r\ntext\r\n"),
        (b"From x\r\nA: b\r\n\r\nc\r\n\r\n", b"A: b\r\n\r\nc\r\n"),
        (b"From x\nA: b\n\n\n\n", b"A: b\r\n\r\n\r\n"),
    ],
)
def test_odd_letters_keep_their_octets(data: bytes, expected: bytes) -> None:
    assert [letter.data for letter in letters(data)] == [expected]


lines = st.lists(
    st.sampled_from([b"From x", b">From y", b">>From ", b"", b"text", b"Status: RO", b"X-Status: D", b" "])
)
flags = st.sets(st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"]))


@given(st.lists(st.tuples(lines, flags, st.integers(0, 2**31))))
def test_an_exported_mbox_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, many: list[object]) -> None:
    path = tmp_path_factory.mktemp("mbox") / "out"
    given_letters = [
        Letter(b"Subject: x\r\n\r\n" + b"".join(line + b"\r\n" for line in text), tuple(sorted(marks)), at)
        for text, marks, at in many  # type: ignore[attr-defined]
    ]
    out = MboxWriter(path)
    for letter in given_letters:
        out.add(letter)
    out.close()
    back = letters(path.read_bytes())
    assert [(letter.data, tuple(sorted(letter.flags)), letter.at) for letter in back] == [
        (letter.data, letter.flags, letter.at) for letter in given_letters
    ]


def test_a_maildir_comes_with_flags_times_and_subfolders(tmp_path: Path) -> None:
    source = tmp_path / "Maildir"
    for folder in (source, source / ".Sent.B&AOQ-lle"):
        for part in ("cur", "new", "tmp"):
            (folder / part).mkdir(parents=True)
    (source / ".notmail").mkdir()
    (source / "new" / "1.M1.host").write_bytes(HARBOUR.replace(b"\r\n", b"\n"))
    (source / "cur" / "2.M2.host:2,FPRST").write_bytes(b"Subject: x\n\n")
    (source / "cur" / ".hidden").write_bytes(b"no mail")
    (source / ".Sent.B&AOQ-lle" / "cur" / "3.M3.host:2,D").write_bytes(b"Subject: y\n\n")
    os.utime(source / "new" / "1.M1.host", (7, 7))
    found = sources(source, decode_name=in_utf7)
    assert [(one.kind, one.folder) for one in found] == [("maildir", ""), ("maildir", "Sent/Bälle")]
    first, second = [letter for letter, _ in read(found[0])]
    assert first == Letter(HARBOUR, (), 7)
    assert set(second.flags) == {"\\Flagged", "$Forwarded", "\\Answered", "\\Seen", "\\Deleted"}
    assert [letter.flags for letter, _ in read(found[1])] == [("\\Draft",)]


def test_an_exported_maildir_comes_back_as_it_was(tmp_path: Path) -> None:
    given_letters = [Letter(HARBOUR, ("\\Seen", "$Forwarded"), 1000), Letter(HARBOUR, (), 1000), Letter(b"\r\n", (), 5)]
    out = writer(tmp_path / "out", "maildir")
    for letter in given_letters:
        out.add(letter)
    out.close()
    (source,) = sources(tmp_path / "out", decode_name=in_utf7)
    back = [letter for letter, _ in read(source)]
    assert sorted(back, key=str) == sorted(given_letters, key=str)


def test_a_single_message_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "one.eml"
    path.write_bytes(HARBOUR)
    (source,) = sources(path, decode_name=in_utf7)
    assert [(letter.data, took) for letter, took in read(source)] == [(HARBOUR, len(HARBOUR))]


def test_a_message_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailfiles, "MAX_MESSAGE", 20)
    with pytest.raises(CallError, match="passes"):
        letters(MBOX)


def test_a_plain_folder_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="neither a file nor a Maildir"):
        sources(tmp_path, decode_name=in_utf7)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(CallError, match="there already"):
        writer(tmp_path / "out", "mbox")
