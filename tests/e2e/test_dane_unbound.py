"""DANE by unbound as it is: a signed zone, one that is not, and records that were tampered with on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import dns.dnssec
import dns.rdatatype
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.dns import DnsConfig, Resolver, TemporaryDnsError
from tests.e2e.programs import find
from tests.plugins.tlspolicy.test_delivery import tlsa
from tests.plugins.tlspolicy.world import STRANGER, World, host, world
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.programs("unbound")]

OWN = host("mx.signed.test", ca=STRANGER)
OTHER = host("mx.signed.test", ca=STRANGER)
PATIENCE_S = 60.0
ORIGINS = ("test.", "plain.")
ZONE = """
@ SOA ns.{0} root.{0} 1 3600 600 86400 60
@ NS ns.{0}
ns A 127.0.0.1
signed MX 10 mx.signed
mx.signed A 127.0.0.1
bare MX 10 mx.bare
mx.bare A 127.0.0.1
bad MX 10 mx.bad
mx.bad A 127.0.0.1
alias MX 10 mx.alias
mx.alias CNAME mx.signed
"""


def zones(folder: Path, port: int) -> None:
    """Write both zones: "test." signed and with a trust anchor, but for one signature that is spoilt."""
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    (folder / "anchor").write_text(f"test. IN DNSKEY {dnskey.to_text()}\n")
    for origin in ORIGINS:
        text = ZONE.format(origin)
        for name in ("mx.signed", "mx.bad"):
            text += tlsa(port, OWN, 3, 1, 1, base=f"{name}.{origin.rstrip('.')}")
        zone = dns.zone.from_text(f"$ORIGIN {origin}\n$TTL 60\n{text}", origin, relativize=False)
        if origin == "test.":
            dns.dnssec.sign_zone(zone, keys=[(key, dnskey)], lifetime=86_400)
        lines = zone.to_text(relativize=False).splitlines()
        spoilt = [line for line in lines if line.startswith(f"_{port}._tcp.mx.bad.test.") and " RRSIG TLSA " in line]
        assert len(spoilt) == (origin == "test.")
        kept = [line for line in lines if line not in spoilt]
        kept += [line[:-20] + "A" * 18 + "==" for line in spoilt]
        (folder / f"{origin}zone").write_text("\n".join(kept) + "\n")


def configuration(folder: Path, port: int) -> str:
    found = "\n".join(
        f'auth-zone:\n name: "{origin}"\n zonefile: "{folder}/{origin}zone"\n for-downstream: no\n for-upstream: yes\n'
        f" fallback-enabled: no"
        for origin in ORIGINS
    )
    return f"""
server:
 interface: 127.0.0.1@{port}
 do-daemonize: no
 chroot: ""
 username: ""
 directory: "{folder}"
 pidfile: "{folder}/unbound.pid"
 use-syslog: no
 module-config: "validator iterator"
 trust-anchor-file: "{folder}/anchor"
 local-zone: "test." nodefault
 num-threads: 1
remote-control:
 control-enable: no
{found}
"""


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        server = await made.serve(OWN.context)
        zones(tmp_path, server.port)
        port = free_port()
        (tmp_path / "unbound.conf").write_text(configuration(tmp_path, port))
        process = await asyncio.create_subprocess_exec(find("unbound"), "-d", "-c", str(tmp_path / "unbound.conf"))
        try:
            made.resolver = Resolver(DnsConfig(servers=(f"127.0.0.1:{port}",), timeout=30))
            async with asyncio.timeout(PATIENCE_S):
                while not await answers(port, process):
                    await asyncio.sleep(0.05)
            yield made
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def answers(port: int, process: asyncio.subprocess.Process) -> bool:
    """Whether unbound is there; a resolver of its own, so that nothing of the beginning is remembered."""
    assert process.returncode is None, "unbound ended"
    try:
        await Resolver(DnsConfig(servers=(f"127.0.0.1:{port}",), timeout=1)).look_up("ns.test", "A")
    except TemporaryDnsError:
        return False
    return True


async def test_what_a_signed_zone_says_is_held_to_and_what_others_say_is_not(place: World) -> None:
    found = await place.send("signed.test")
    assert found.security == "TLSv1.3, authenticated: DANE: a TLSA record of mx.signed.test"
    found = await place.send("alias.test")
    assert found.security == "TLSv1.3, authenticated: DANE: a TLSA record of mx.signed.test"
    found = await place.send("bare.test")
    assert found.security.startswith("TLSv1.3, encrypted: no DANE: mx.bare.test has no TLSA records")
    found = await place.send("signed.plain")
    assert found.security.startswith("TLSv1.3, encrypted: no DANE: the domain's exchangers are not signed")
    found = await place.send("bad.test")  # bogus: whoever tampered with it would like us to go on without
    assert (found.status, found.reply.enhanced) == ("deferred", "4.7.5")
    assert "TLSA records" in found.reply.text
    assert place.policies.resolver.validates


async def test_another_certificate_gets_nothing(place: World) -> None:
    [server] = place.servers
    server.tls = OTHER.context
    found = await place.send("signed.test")
    assert (found.status, found.reply.enhanced) == ("deferred", "4.7.5")
    assert server.messages == []
    assert (await place.send("signed.plain")).status == "delivered"
