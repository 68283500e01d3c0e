"""`palomar dmarc`: what others report about our domains, and what we will report about theirs."""

from __future__ import annotations

import datetime
from typing import Any

import click

from appliance.commands.terminal import Column, json_option, show, time_words


def _day(at: int) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d") if 0 < at < 1 << 35 else "-"


DAY, DOMAIN, SOURCE = Column("day", "Day", _day), Column("domain", "Domain"), Column("source_ip", "Source")
SUMS = (
    Column("messages", "Messages", right=True),
    Column("passed", "Passed", right=True),
    Column("dkim", "DKIM", right=True),
    Column("spf", "SPF", right=True),
    Column("quarantined", "Put aside", right=True),
    Column("rejected", "Rejected", right=True),
)
RECEIVED = {
    "source": (DOMAIN, SOURCE, *SUMS, Column("last_at", "Last", _day)),
    "day": (DAY, DOMAIN, *SUMS),
    "domain": (DOMAIN, *SUMS, Column("last_at", "Last", _day)),
    "report": (DAY, DOMAIN, Column("organization", "From"), *SUMS),
}
PENDING = (
    DAY,
    DOMAIN,
    Column("messages", "Messages", right=True),
    Column("passed", "Passed", right=True),
    Column("rows", "Rows", right=True),
    Column("addresses", "To", ", ".join),
)
FAILURES = (
    Column("received_at", "Came", time_words),
    DOMAIN,
    SOURCE,
    Column("failure", "Failed"),
    Column("delivery", "Then", lambda words: words or "-"),
    Column("author", "Author"),
    Column("subject", "Subject"),
)


@click.group()
def dmarc() -> None:
    """Show reports about mail in our name, and those that we will send about others'."""


@dmarc.command("received")
@click.option(
    "--by", type=click.Choice(tuple(RECEIVED)), default="source", show_default=True, help="What is summed up."
)
@click.option("--domain", default="", metavar="NAME", help="Only what is about this domain.")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Of the last so many days.")
@json_option
@click.pass_obj
def received(palomar: Any, by: str, domain: str, days: int, as_json: bool) -> None:
    """Sum up what others report about mail that says it is from our domains."""
    rows = palomar.call("dmarc.received", by=by, domain=domain, days=days)
    show(rows, RECEIVED[by], as_json=as_json, empty="No report has come yet")


@dmarc.command("failures")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Reports at most.")
@json_option
@click.pass_obj
def failures(palomar: Any, limit: int, as_json: bool) -> None:
    """List reports of single messages that failed elsewhere, the newest first."""
    show(palomar.call("dmarc.failures", limit=limit), FAILURES, as_json=as_json, empty="No report has come yet")


@dmarc.command("pending")
@json_option
@click.pass_obj
def pending(palomar: Any, as_json: bool) -> None:
    """List what is counted and will be reported after midnight (UTC)."""
    show(palomar.call("dmarc.pending"), PENDING, as_json=as_json, empty="Nothing is counted")


@dmarc.command("report")
@click.argument("domain")
@click.pass_obj
def report(palomar: Any, domain: str) -> None:
    """Print the report about DOMAIN as it would be sent now: XML."""
    click.echo(palomar.call("dmarc.report", domain=domain), nl=False)
