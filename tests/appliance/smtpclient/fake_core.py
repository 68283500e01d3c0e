"""As much of a core as the sending plugins need: settings, names from a zone file, TLS of a test authority."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from appliance.config import CoreConfig, Settings
from appliance.core import Core
from appliance.dispatch import Dispatch
from appliance.dns import DnsConfig, Resolver
from appliance.loading import load, register
from tests.appliance.smtpclient.fake_server import Authority


class FakeCertificates:
    """The client's half of `Certificates`."""

    def __init__(self, authority: Authority) -> None:
        self.client_context = authority.client


def make_core(
    folder: Path, zone: str, *sections: object, authority: Authority | None = None, plugin: object = None
) -> Core:
    """A core that resolves names by `zone` alone."""
    file = folder / "zone"
    file.write_text(f"$ORIGIN .\n$TTL 60\n{zone}\n")
    manager, _ = load([])
    if plugin is not None:
        register(manager, "test", plugin)
    return Core(
        settings=Settings.of(CoreConfig(hostname="me.test"), *sections),
        dispatch=Dispatch(manager),
        resolver=Resolver(DnsConfig(zone_file=file)),
        certificates=cast(Any, FakeCertificates(authority or Authority())),
        **dict.fromkeys(("store", "auth", "trace", "intake", "queue"), cast(Any, None)),
    )
