"""Random MIME trees whose every octet's place is known by construction."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

LINES = st.lists(
    st.sampled_from([b"text", b"", b"--", b"--b", b"--b1--", b"-- ", b"Subject: x", b"\xff8-bit", b"."]), max_size=6
)


@dataclass
class Tree:
    """What a part is, and the octets of its header (with the empty line) and of its body."""

    kind: str
    header: bytes
    body: bytes
    parts: list[Tree] = field(default_factory=list)
    message: Tree | None = None

    @property
    def octets(self) -> bytes:
        return self.header + self.body


def leaf(lines: list[bytes], kind: str) -> Tree:
    header = b"" if kind == "text/plain" else b"Content-Type: %b\r\n" % kind.encode()
    return Tree(kind, header + b"\r\n", b"\r\n".join(lines))


def multipart(
    parts: list[Tree], preamble: list[bytes], epilogue: list[bytes], *, closed: bool, boundary: bytes
) -> Tree:
    dashes = b"--" + boundary
    body = b"".join(line + b"\r\n" for line in preamble)
    body += b"\r\n".join(dashes + b" \t\r\n" + part.octets for part in parts)
    if closed:
        body += b"\r\n" + dashes + b"--\r\n" + b"\r\n".join(epilogue)
    return Tree("multipart/mixed", b'Content-Type: multipart/mixed;\r\n boundary="%b"\r\n\r\n' % boundary, body, parts)


def message(inner: Tree) -> Tree:
    return Tree("message/rfc822", b"content-type: message/RFC822\r\n\r\n", inner.octets, message=inner)


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Tree:
    kind = draw(st.sampled_from(["leaf", "multipart", "message"])) if depth else "leaf"
    if kind == "leaf":
        return leaf(draw(LINES), draw(st.sampled_from(["text/plain", "text/html", "image/png"])))
    if kind == "message":
        return message(draw(trees(depth - 1)))
    parts = draw(st.lists(trees(depth - 1), min_size=1, max_size=3))
    # Each level has a boundary of its own that no line of the leaves is; prefixes of one another are wanted.
    boundary = b"b" + b"=" * depth
    closed = draw(st.booleans())
    return multipart(parts, draw(LINES), draw(LINES), closed=closed, boundary=boundary)
