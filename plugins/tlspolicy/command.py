"""`palomar tls`: what is known of other domains' TLS, our own policy, and the reports of others."""

from __future__ import annotations

from typing import Any

import click

from appliance.commands.terminal import Column, done, json_option, show, time_words

DOMAINS = (
    Column("domain", "Domain"),
    Column("mta_sts", "MTA-STS", lambda mode: mode or "-"),
    Column("policy_ends_at", "Until", time_words),
    Column("level", "Seen", lambda level: level if level != "plain" else "-"),
    Column("seen_at", "Last", time_words),
    Column("refused", "Refused", lambda words: words or "-"),
)
REPORTS = (
    Column("end", "Until"),
    Column("organization", "From"),
    Column("domain", "Domain"),
    Column("policy", "Policy"),
    Column("successes", "Good", right=True),
    Column("failures", "Failed", right=True),
    Column("details", "Failures", lambda details: "; ".join(details) or "-"),
)


@click.group()
def tls() -> None:
    """Show and manage what protects mail on its way to other domains, and what others say about ours."""


@tls.command("domains")
@json_option
@click.pass_obj
def domains(palomar: Any, as_json: bool) -> None:
    """List the domains whose policy or best TLS is known."""
    show(palomar.call("tlspolicy.domains"), DOMAINS, as_json=as_json, empty="No domain is known yet")


@tls.command("forget")
@click.argument("domain")
@click.pass_obj
def forget(palomar: Any, domain: str) -> None:
    """Forget policy and best TLS of DOMAIN, so that mail can go there again by what it offers now."""
    known = palomar.call("tlspolicy.forget", domain=domain)
    done(
        f"{domain} is forgotten; `palomar queue retry` sends what waits" if known else f"nothing was known of {domain}"
    )


@tls.command("reports")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Reports at most.")
@json_option
@click.pass_obj
def reports(palomar: Any, limit: int, as_json: bool) -> None:
    """List what others report about TLS with our domains, the newest first."""
    show(palomar.call("tlspolicy.reports", limit=limit), REPORTS, as_json=as_json, empty="No report has come yet")


@tls.command("policy")
@click.pass_obj
def policy(palomar: Any) -> None:
    """Print our MTA-STS policy, for the file /.well-known/mta-sts.txt at mta-sts.DOMAIN."""
    click.echo(palomar.call("tlspolicy.policy").replace("\r\n", "\n"), nl=False)
