"""Conversations: which message answers which (RFC 5256 section 3, THREAD). Without I/O or recursion.

Messages are places in the lists that the caller gives, in the order of the mailbox. A node is such a place, or above
them a message that is only spoken of; what comes out names places of messages only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

ROOT = -1


@dataclass(frozen=True, slots=True)
class Letter:
    """What threading looks at. `references` end with the nearest; `subject` is the base subject."""

    message_id: bytes
    references: tuple[bytes, ...]
    subject: bytes
    is_answer: bool
    sent_at: int  # epoch seconds


class Forest:
    """Nodes, their parents and their children; `places` of them are messages, the others are not there."""

    __slots__ = ("children", "parents", "places", "roots")

    def __init__(self, places: int) -> None:
        self.places = places
        self.parents: list[int] = [ROOT] * places
        self.children: list[list[int]] = [[] for _ in range(places)]
        self.roots: list[int] = []

    def add_dummy(self) -> int:
        """One more node for a message that is not there."""
        self.parents.append(ROOT)
        self.children.append([])
        return len(self.parents) - 1

    def is_dummy(self, node: int) -> bool:
        """Whether a node is no message."""
        return node >= self.places

    def put(self, node: int, parent: int) -> None:
        """Hang a node that has no parent below another."""
        self.parents[node] = parent
        self.children[parent].append(node)

    def first(self, node: int) -> int:
        """The message that a node stands for: itself, or the first one below."""
        while self.is_dummy(node):
            node = self.children[node][0]
        return node


def by_references(letters: Sequence[Letter]) -> Forest:
    """Group by Message-ID, References and In-Reply-To, then roots by subject (THREAD=REFERENCES)."""
    forest = _linked(letters)
    _prune(forest)
    sent = [letter.sent_at for letter in letters]
    _sort_levels(forest, sent)
    forest.roots = _gathered(forest, letters)
    _sort_levels(forest, sent)
    return forest


def by_subject(letters: Sequence[Letter]) -> Forest:
    """Group by base subject: the first one sent has all others below it (THREAD=ORDEREDSUBJECT)."""
    forest = Forest(len(letters))
    order = sorted(range(len(letters)), key=lambda place: (letters[place].subject, letters[place].sent_at))
    for _, group in groupby(order, key=lambda place: letters[place].subject):
        first, *others = group
        forest.roots.append(first)
        for other in others:
            forest.put(other, first)
    forest.roots.sort(key=lambda place: (letters[place].sent_at, place))
    return forest


def _linked(letters: Sequence[Letter]) -> Forest:
    """Steps 1 and 2: every message below the last one that it refers to, those below one another.

    The RFC goes message by message, and so has to break links again. What messages say of their own parents counts
    more than what others say: done first, no link has to be broken, and whether one would close a loop is whether the
    upper end of the tree is the node itself.
    """
    forest = Forest(len(letters))
    nodes: dict[bytes, int] = {}
    for place, letter in enumerate(letters):
        if letter.message_id:
            nodes.setdefault(letter.message_id, place)  # a second message with the same id counts as having none
    chains = [(place, _chain(forest, nodes, letter.references)) for place, letter in enumerate(letters)]
    tops = list(range(len(forest.parents)))
    for place, chain in chains:
        if chain:
            _link(forest, tops, place, chain[-1])
    for _, chain in chains:
        for parent, node in pairwise(chain):
            _link(forest, tops, node, parent)
    forest.roots = [node for node, parent in enumerate(forest.parents) if parent == ROOT]
    return forest


def _chain(forest: Forest, nodes: dict[bytes, int], references: Iterable[bytes]) -> list[int]:
    chain = []
    for reference in references:
        node = nodes.get(reference)
        if node is None:
            node = nodes[reference] = forest.add_dummy()
        chain.append(node)
    return chain


def _link(forest: Forest, tops: list[int], node: int, parent: int) -> None:
    """Hang a node below another, unless it has a parent or that would close a loop. `tops` lead to the upper ends."""
    if forest.parents[node] != ROOT:
        return
    top = parent
    while tops[top] != top:
        tops[top] = tops[tops[top]]
        top = tops[top]
    if top != node:
        tops[node] = top
        forest.put(node, parent)


def _prune(forest: Forest) -> None:
    """Step 3: what is not there goes, its children move up; at the top only an only child does."""
    for node in _below_first(forest):
        if any(map(forest.is_dummy, forest.children[node])):
            kept: list[int] = []
            for child in forest.children[node]:
                kept += forest.children[child] if forest.is_dummy(child) else (child,)
            forest.children[node] = kept
            for child in kept:
                forest.parents[child] = node
    roots: list[int] = []
    for root in forest.roots:
        if not forest.is_dummy(root) or len(forest.children[root]) > 1:
            roots.append(root)
            continue
        for child in forest.children[root]:
            forest.parents[child] = ROOT
            roots.append(child)
    forest.roots = roots


def _below_first(forest: Forest) -> list[int]:
    """All nodes of the trees, each after what is below it."""
    order: list[int] = []
    open_nodes = list(forest.roots)
    while open_nodes:
        node = open_nodes.pop()
        order.append(node)
        open_nodes += forest.children[node]
    order.reverse()
    return order


def _sort_levels(forest: Forest, sent: Sequence[int]) -> None:
    """Steps 4 and 6: siblings by when they were sent, at one moment by their order in the mailbox."""

    def key(node: int) -> tuple[int, int]:
        place = forest.first(node)
        return sent[place], place

    for node in _below_first(forest):
        if len(forest.children[node]) > 1:
            forest.children[node].sort(key=key)
    forest.roots.sort(key=key)


def _gathered(forest: Forest, letters: Sequence[Letter]) -> list[int]:
    """Step 5: threads with the same base subject become one."""
    table: dict[bytes, int] = {}
    firsts = {root: letters[forest.first(root)] for root in forest.roots}
    for root in forest.roots:
        letter = firsts[root]
        if not letter.subject:
            continue
        other = table.setdefault(letter.subject, root)
        if other != root and not forest.is_dummy(other):
            answers = firsts[other].is_answer and not letter.is_answer
            if forest.is_dummy(root) or answers:
                table[letter.subject] = root
    roots: list[int] = []
    for root in forest.roots:
        letter = firsts[root]
        head = table[letter.subject] if letter.subject else root
        if head == root:
            roots.append(root)
        elif forest.is_dummy(head):
            for node in forest.children[root] if forest.is_dummy(root) else (root,):
                forest.put(node, head)
        elif letter.is_answer and not firsts[head].is_answer:
            forest.put(root, head)
        else:
            both = forest.add_dummy()
            firsts[both] = firsts[head]
            table[letter.subject] = both
            forest.put(head, both)
            forest.put(root, both)
            roots.append(both)
    # A head that went below a new node stands in `roots` no more.
    return [root for root in roots if forest.parents[root] == ROOT]


def written(forest: Forest, numbers: Sequence[int]) -> bytes:
    """The threads as THREAD answers: `(2)(3 6 (4 23)(44 7 96))`; `numbers` are those of the places."""
    out: list[bytes] = []
    todo: list[int | bytes] = []  # what is still to be written, last first
    for root in reversed(forest.roots):
        todo += (b")", root, b"(")
    while todo:
        node = todo.pop()
        if isinstance(node, bytes):
            out.append(b" (" if node == b"(" and out and out[-1][-1:].isdigit() else node)
            continue
        children = forest.children[node]
        if not forest.is_dummy(node):
            out.append(b"%d" % numbers[node] if out[-1].endswith(b"(") else b" %d" % numbers[node])
            if len(children) == 1:
                todo.append(children[0])
                continue
        for child in reversed(children):
            todo += (b")", child, b"(")
    return b"".join(out)
