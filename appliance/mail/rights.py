"""Rights on mailboxes as letters (RFC 4314 section 2). A set of rights is a string in the order of ALL_RIGHTS."""

from __future__ import annotations

from collections.abc import Iterable

ALL_RIGHTS = "lrswipkxtea"
NO_RIGHTS = ""
OBSOLETE = {"c": "k", "d": "xte"}  # what RFC 2086's create and delete stand for (RFC 4314 section 2.1.1)

Grant = tuple[bool, str]  # whether the entry takes rights away, and which rights it is about


def normal_rights(letters: str) -> str:
    """Rights in their order, each once, `c` and `d` replaced by what they stand for. Raises ValueError."""
    chosen = {right for letter in letters for right in OBSOLETE.get(letter, letter)}
    if unknown := chosen.difference(ALL_RIGHTS):
        raise ValueError(f"{''.join(sorted(unknown))!r} are no rights; there are {ALL_RIGHTS}")
    return "".join(right for right in ALL_RIGHTS if right in chosen)


def shown_rights(rights: str) -> str:
    """Rights as clients are told them: with `c` and `d` where any right is there that those stand for."""
    return rights + "".join(letter for letter, meant in OBSOLETE.items() if not set(meant).isdisjoint(rights))


def edited_rights(before: str, mode: str, letters: str) -> str:
    """Rights after they were given ("+"), taken away ("-") or replaced (""). Both are normal rights."""
    match mode:
        case "+":
            return normal_rights(before + letters)
        case "-":
            return "".join(right for right in before if right not in letters)
    return letters


def effective_rights(grants: Iterable[Grant]) -> str:
    """What one has who is meant by all these entries: what any of them gives and none takes away."""
    given: set[str] = set()
    taken: set[str] = set()
    for negative, rights in grants:
        (taken if negative else given).update(rights)
    return "".join(right for right in ALL_RIGHTS if right in given and right not in taken)


def covers(rights: str, needed: str) -> bool:
    """Whether all rights that are needed are there."""
    return all(right in rights for right in needed)
