"""The destinations of a full queue: domains, each with a host of its own, at loopback addresses. Without I/O."""

from __future__ import annotations

KINDS = {"live": "127.10", "slow": "127.20", "silent": "127.30", "nobody": "127.40"}
DEAD_SHARE = 0.3  # of the destinations, a third of them each slow, silent, and not there


def address(kind: str, number: int) -> str:
    """Where the host with that number is."""
    return f"{KINDS[kind]}.{number // 250}.{number % 250 + 1}"


class Town:
    """So many destinations, and `messages` for them in turn."""

    def __init__(self, destinations: int, messages: int) -> None:
        poor = round(destinations * DEAD_SHARE / 3)
        self.counts = dict.fromkeys(KINDS, poor) | {"live": destinations - 3 * poor}
        self.messages = messages
        hosts = [(kind, number) for kind, count in self.counts.items() for number in range(count)]
        # Neither side may meet the live ones first.
        self.hosts = sorted(hosts, key=lambda host: (host[1] / self.counts[host[0]], host))
        self.domains = {f"{kind}{number}.drain.test": address(kind, number) for kind, number in self.hosts}
        self.recipients = [f"someone@{domain}" for domain in self.domains]

    @property
    def living(self) -> int:
        """How many of the messages are for live hosts."""
        turns, rest = divmod(self.messages, len(self.hosts))
        return turns * self.counts["live"] + sum(kind == "live" for kind, _ in self.hosts[:rest])
