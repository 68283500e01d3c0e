"""Mail to learn from: enough to tell two kinds apart."""

from __future__ import annotations

from appliance.mail.message import Message

SPAM_WORDS = [
    "winner", "million", "dollars", "claim", "your", "prize", "now", "free", "cheap", "pills", "click", "here",
]  # fmt: skip
HAM_WORDS = [
    "the", "meeting", "on", "thursday", "moved", "to", "ten", "please", "send", "minutes", "of", "budget", "thanks",
]  # fmt: skip


def letter(words: list[str], number: int, *, sender: str = "luis@elsewhere.test", html: bool = False) -> Message:
    """One message; each number takes the words in another order."""
    turned = words[number % len(words) :] + words[: number % len(words)]
    text = " ".join(turned)
    body = f"<html><font color=red>{text}</font></html>" if html else text
    kind = "text/html" if html else "text/plain"
    return Message.parse(
        f"From: Luis <{sender}>\r\nSubject: {' '.join(turned[:4])}\r\nMessage-ID: <{number}@elsewhere.test>\r\n"
        f"Content-Type: {kind}; charset=utf-8\r\n\r\n{body}\r\n".encode()
    )


def spam(number: int) -> Message:
    """Advertises."""
    return letter(SPAM_WORDS, number, sender=f"win{number}@prizes.test", html=True)


def ham(number: int) -> Message:
    """Asks for minutes."""
    return letter(HAM_WORDS, number)
