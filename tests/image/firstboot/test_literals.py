"""Replacing strings in a TOML text, and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError
from image.firstboot.literals import quoted, replaced, scan, without
from image.firstboot.places import MAX_FILE, TEMPLATE
from image.firstboot.words import document

TEXT = '''\
a = "x" # "not this"
'quoted key'.b = 'y'
n = { p = "in", "q r" = ["l1", { deep = """m
u""" }] }
d = 1979-05-27T07:32:00Z
[t]
l = [
  "one", # a comment with ]
  'two',
]
[[t.hosts]]
password = "first"
[[t.hosts]]
password = "second"
[t.hosts.inner]
s = \'\'\'raw "" text\'\'\'
'''


def test_every_string_is_found_at_its_key() -> None:
    spans = scan(TEXT).strings
    data = tomllib.loads(TEXT)
    for key, span in spans.items():
        value = data
        for part in key:
            value = value[part]  # type: ignore[index]
        assert tomllib.loads(f"v = {TEXT[span.start : span.end]}")["v"] == value
    assert ("t", "hosts", 1, "inner", "s") in spans
    assert len(spans) == 10


@given(st.sampled_from(sorted(scan(TEXT).strings, key=str)), st.text())
def test_only_that_string_changes(key: tuple[str | int, ...], value: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    span = scan(TEXT).strings[key]
    made = replaced(TEXT, {key: value})
    assert made == TEXT[: span.start] + quoted(value) + TEXT[span.end :]


def test_a_table_is_taken_out_and_lines_keep_their_numbers() -> None:
    made = without(TEXT, "t")
    assert made.count("\n") == TEXT.count("\n")
    assert tomllib.loads(made) == {k: v for k, v in tomllib.loads(TEXT).items() if k != "t"}
    assert made.startswith(TEXT[: TEXT.index("[t]")])


def test_a_key_that_is_no_string_is_refused() -> None:
    with pytest.raises(ValueError, match="no string"):
        replaced(TEXT, {("d",): "x"})


def test_the_template_is_all_comments_and_right_when_they_count() -> None:
    text = TEMPLATE.read_text()
    assert tomllib.loads(text) == {}
    bare = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#") and line[1:2] not in {" ", ""})
    assert tomllib.loads(bare)["setup"]["accounts"][0]["name"] == "ana@example.org"


@pytest.mark.parametrize(
    ("data", "line", "told"),
    [
        ('hostname = "x"\n'.encode("utf-16"), 0, "UTF-16"),
        ('a = 1\nname = "caf\u00e9"\n'.encode("cp1252"), 2, "'\u00e9'"),
        (b"{\\rtf1 hostname}", 0, "Rich Text"),
        (b"PK\x03\x04rest", 0, "word processor"),
        (b"a = 1\n\0\0", 2, "damaged"),
        (b"a = 1\rb = 2\r", 1, "CR alone"),
        (b"#" * (MAX_FILE + 1), 0, "larger than"),
        (b"a = 1\r\nhostname = mail.example.org\r\n", 2, "in quotes"),
        (b"hostname: mail\n", 1, "Write ="),
        (b"a = " + b"[" * 20_000, 0, "nested"),
    ],
)
def test_what_editors_do_is_told_in_words(data: bytes, line: int, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        document(data, "palomar.toml")
    (problem,) = caught.value.problems
    assert problem.line == line
    assert told in f"{problem.text} {problem.remedy}"
    assert problem.file == "palomar.toml"


def test_a_byte_order_mark_and_crlf_are_fine() -> None:
    found = document(b"\xef\xbb\xbf# note\r\na = 1\r\n", "palomar.toml")
    assert found.data == {"a": 1}
    assert found.lines["a",] == 2
    assert found.path == Path("palomar.toml")
