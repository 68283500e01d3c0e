"""Base subjects by the grammar of RFC 5256 section 5, and the order in which texts are sorted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.subject import MAX_SUBJECT, base_subject, collation_key


@pytest.mark.parametrize(
    ("subject", "base", "answer"),
    [
        ("lunch", "lunch", False),
        ("Re: lunch", "lunch", True),
        ("re : lunch", "lunch", True),
        ("RE: Fwd: fw: lunch", "lunch", True),
        ("Re[2]: lunch", "lunch", True),
        ("[office] Re: [list] lunch", "lunch", True),
        ("[office] lunch", "lunch", False),
        ("lunch (fwd) (FWD) ", "lunch", True),
        ("[fwd: Re: lunch]", "lunch", True),
        ("[Fwd: [office] lunch (fwd)]", "lunch", True),
        ("[office]", "[office]", False),
        ("Re: [office]", "[office]", True),
        ("Re:", "", True),
        ("", "", False),
        ("lunch\r\n\t at   noon", "lunch at noon", False),
        ("Regarding lunch", "Regarding lunch", False),
        ("[a[b] lunch", "[a[b] lunch", False),
        ("Aw: lunch", "Aw: lunch", False),  # the RFC knows no other language
    ],
)
def test_marks_of_answers_and_lists_are_taken_away(subject: str, base: str, answer: bool) -> None:
    assert base_subject(subject) == (base, answer)


@given(st.text(alphabet="re:fwd[]() x\t", max_size=60))
def test_a_base_subject_is_its_own_base(subject: str) -> None:
    base, _ = base_subject(subject)
    assert base_subject(base)[0] == base


def test_a_subject_made_to_take_long_is_cut() -> None:
    base, answer = base_subject("re: [a] " * 100_000)
    assert answer
    assert len(base) <= MAX_SUBJECT


def test_texts_compare_without_case_in_every_script() -> None:
    words = ["Ärger", "zebra", "äRGER", "Apfel", "ÉTÉ", "été", "straße"]
    assert collation_key("Ärger") == collation_key("äRGER")
    assert collation_key("ÉTÉ") == collation_key("été")
    assert min(words, key=collation_key) == "Apfel"
    assert max(words, key=collation_key) == "zebra"
