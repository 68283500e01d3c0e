"""Many SMTP connections that have said EHLO and no more: a process of its own, so that it delays nobody.

It prints `READY` when all are there, and ends with its input.
"""

from __future__ import annotations

import argparse
import resource
import smtplib
import ssl
import sys

WAIT_S = 60


def context() -> ssl.SSLContext:
    """For a server under test, which signs for itself."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def call(host: str, port: int, tls: ssl.SSLContext | None) -> smtplib.SMTP:
    """One connection that has said EHLO, after STARTTLS if `tls` is given."""
    client = smtplib.SMTP(host, port, local_hostname="generator.test", timeout=WAIT_S)
    client.ehlo()
    if tls is not None:
        client.starttls(context=tls)
        client.ehlo()
    return client


def main() -> None:
    """Connect, then wait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--tls", action="store_true")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tls = context() if arguments.tls else None
    clients = [call(arguments.host, arguments.port, tls) for _ in range(arguments.connections)]
    print("READY", flush=True)
    sys.stdin.read()
    del clients


if __name__ == "__main__":
    main()
