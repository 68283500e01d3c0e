from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from appliance.dns import (
    FAILURE_TTL_S,
    MAX_NEGATIVE_TTL_S,
    MIN_TTL_S,
    Answer,
    DnsConfig,
    MxHost,
    NoSuchDomainError,
    NullMxError,
    Resolver,
    TemporaryDnsError,
)
from appliance.errors import ConfigError
from tests.ports import free_port

ZONE = """
$ORIGIN example.net.
@ IN MX 20 mx2
@ IN MX 10 MX1
@ 60 IN TXT "v=spf1 " "-all"
mx1 A 127.0.0.1
    AAAA ::1
mx2 A 127.0.0.2
www CNAME mx1
null MX 0 .
odd MX 0 .
odd MX 5 mx1
loop CNAME loop2
loop2 CNAME loop
dangling CNAME nowhere
*.wild A 127.0.0.9
there.wild A 127.0.0.8
deep.inner.wild A 127.0.0.6
a.b.c A 127.0.0.7
xn--mnchen-3ya MX 1 mx1
xn--strae-oqa MX 1 mx2
$ORIGIN 127.in-addr.arpa.
1.0.0 PTR mx1.example.net.
"""


@pytest.fixture
def zone(tmp_path: Path) -> Resolver:
    path = tmp_path / "test.zone"
    path.write_text(ZONE)
    return Resolver(DnsConfig(zone_file=path))


class FakeSource:
    """Answers from a dictionary and counts the questions."""

    validates = False

    def __init__(self, **answers: Answer | Exception) -> None:
        self.answers: dict[str, Answer | Exception] = answers
        self.asked: list[tuple[str, str]] = []
        self.gate: asyncio.Event | None = None

    async def ask(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.get(rdtype, Answer((), 60))
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_mail_exchangers_come_by_preference(zone: Resolver) -> None:
    assert await zone.mx("Example.NET.") == [MxHost(10, "mx1.example.net"), MxHost(20, "mx2.example.net")]


async def test_a_host_without_mx_is_its_own_exchanger(zone: Resolver) -> None:
    assert await zone.mx("mx1.example.net") == [MxHost(0, "mx1.example.net", implicit=True)]
    assert await zone.mx("b.c.example.net") == [MxHost(0, "b.c.example.net", implicit=True)]


async def test_a_null_mx_takes_no_mail(zone: Resolver) -> None:
    with pytest.raises(NullMxError, match=r"null\.example\.net"):
        await zone.mx("null.example.net")
    assert await zone.mx("odd.example.net") == [MxHost(5, "mx1.example.net")]


async def test_international_domains_are_asked_in_ascii(zone: Resolver) -> None:
    assert await zone.mx("münchen.example.net") == [MxHost(1, "mx1.example.net")]
    assert await zone.mx("straße.example.net") == [MxHost(1, "mx2.example.net")]
    with pytest.raises(NoSuchDomainError):
        await zone.mx("ü" * 70 + ".test")


async def test_addresses_of_both_families_in_the_order_asked_for(zone: Resolver) -> None:
    assert await zone.addresses("mx1.example.net") == ["::1", "127.0.0.1"]
    assert await zone.addresses("mx1.example.net", (socket.AF_INET, socket.AF_INET6)) == ["127.0.0.1", "::1"]
    assert await zone.addresses("mx1.example.net", (socket.AF_INET,)) == ["127.0.0.1"]
    assert await zone.addresses("null.example.net") == []
    with pytest.raises(NoSuchDomainError):
        await zone.addresses("nowhere.example.net")


@pytest.mark.parametrize(
    ("text", "address"),
    [("192.0.2.1", "192.0.2.1"), ("[192.0.2.1]", "192.0.2.1"), ("[IPv6:2001:db8::1]", "2001:db8::1")],
)
async def test_a_literal_is_its_own_address(text: str, address: str) -> None:
    source = FakeSource()
    assert await Resolver(DnsConfig(), source=source).addresses(text) == [address]
    assert source.asked == []


async def test_aliases_are_followed_but_not_for_ever(zone: Resolver) -> None:
    assert await zone.addresses("www.example.net", (socket.AF_INET,)) == ["127.0.0.1"]
    with pytest.raises(TemporaryDnsError):
        await zone.addresses("loop.example.net")
    with pytest.raises(NoSuchDomainError):
        await zone.addresses("dangling.example.net")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x.wild.example.net", ["127.0.0.9"]),
        ("y.x.wild.example.net", ["127.0.0.9"]),
        ("there.wild.example.net", ["127.0.0.8"]),
        ("wild.example.net", []),
        ("inner.wild.example.net", []),
        ("b.c.example.net", []),
    ],
)
async def test_wildcards_and_inner_names(zone: Resolver, name: str, found: list[str]) -> None:
    assert await zone.addresses(name, (socket.AF_INET,)) == found
    with pytest.raises(NoSuchDomainError):
        await zone.addresses("x.there.wild.example.net")  # its closest encloser is there.wild, not wild


async def test_text_and_reverse(zone: Resolver) -> None:
    assert await zone.txt("example.net") == [b"v=spf1 -all"]
    assert await zone.txt("mx1.example.net") == []
    assert await zone.ptr("127.0.0.1") == ["mx1.example.net"]
    assert (await zone.look_up("example.net", "MX")).ttl == 300
    with pytest.raises(NoSuchDomainError):
        await zone.ptr("2001:db8::1")


@pytest.mark.parametrize("text", ["example.net. IN MX ten mx1", "example.net. IN A 1.2.3.4.5", None])
def test_a_broken_zone_file_is_told_in_words(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "broken.zone"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Resolver(DnsConfig(zone_file=path))
    [problem] = caught.value.problems
    assert problem.setting == "dns.zone_file"
    assert str(path) in problem.text


async def test_answers_are_kept_for_their_time() -> None:
    source, clock = FakeSource(A=Answer(("192.0.2.1",), 60)), Clock()
    resolver = Resolver(DnsConfig(), source=source, clock=clock)
    for _ in range(3):
        assert (await resolver.look_up("mx.test", "A")).records == ("192.0.2.1",)
    assert len(source.asked) == 1
    clock.now += 61
    await resolver.look_up("mx.test", "A")
    assert len(source.asked) == 2


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (Answer(("192.0.2.1",), 0), MIN_TTL_S),
        (Answer((), 86400), MAX_NEGATIVE_TTL_S),
        (NoSuchDomainError("no", ttl=1e6), MAX_NEGATIVE_TTL_S),
        (NoSuchDomainError("no", ttl=120), 120),
        (TemporaryDnsError("timed out"), FAILURE_TTL_S),
    ],
    ids=["zero", "empty", "long negative", "negative", "failure"],
)
async def test_no_is_an_answer_too(answer: Answer | Exception, kept: float) -> None:
    source, clock = FakeSource(A=answer), Clock()
    resolver = Resolver(DnsConfig(), source=source, clock=clock)

    async def ask() -> None:
        if isinstance(answer, Exception):
            with pytest.raises(type(answer), match=str(answer)):
                await resolver.look_up("mx.test", "A")
        else:
            assert await resolver.look_up("mx.test", "A") == answer

    await ask()
    clock.now += kept - 0.1
    await ask()
    assert len(source.asked) == 1
    clock.now += 0.2
    await ask()
    assert len(source.asked) == 2


async def test_the_cache_is_bounded_and_forgets_the_least_used() -> None:
    source = FakeSource()
    resolver = Resolver(DnsConfig(cache_size=100), source=source)
    for number in range(100):
        await resolver.look_up(f"{number}.test", "A")
    await resolver.look_up("0.test", "A")
    await resolver.look_up("new.test", "A")
    assert len(resolver._cache) == 100
    source.asked.clear()
    await resolver.look_up("0.test", "A")
    assert source.asked == []
    await resolver.look_up("1.test", "A")
    assert source.asked == [("1.test", "A")]


async def test_equal_questions_become_one_and_outlive_who_gave_up() -> None:
    source = FakeSource(A=Answer(("192.0.2.1",), 60))
    source.gate = asyncio.Event()
    resolver = Resolver(DnsConfig(), source=source)
    askers = [asyncio.create_task(resolver.look_up("mx.test", "A")) for _ in range(5)]
    await asyncio.sleep(0)
    askers[0].cancel()
    await asyncio.sleep(0)
    source.gate.set()
    answers = await asyncio.gather(*askers, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.records for answer in answers[1:] if isinstance(answer, Answer)] == [("192.0.2.1",)] * 4
    assert len(source.asked) == 1
    assert resolver._asking == {}


async def test_one_family_is_enough() -> None:
    source = FakeSource(A=Answer(("192.0.2.1",), 60), AAAA=TemporaryDnsError("no answer for AAAA"))
    resolver = Resolver(DnsConfig(), source=source)
    assert await resolver.addresses("mx.test") == ["192.0.2.1"]
    source.answers["A"] = Answer((), 60)
    with pytest.raises(TemporaryDnsError):
        await Resolver(DnsConfig(), source=source).addresses("mx.test")


async def test_reload_takes_the_new_zone_and_forgets_the_old(tmp_path: Path, zone: Resolver) -> None:
    assert await zone.mx("example.net")
    path = tmp_path / "other.zone"
    path.write_text("example.net. IN MX 1 elsewhere.test.")
    zone.reload(DnsConfig(zone_file=path))
    assert await zone.mx("example.net") == [MxHost(1, "elsewhere.test")]
    path.write_text("nonsense")
    with pytest.raises(ConfigError):
        zone.reload(DnsConfig(zone_file=path))
    assert await zone.mx("example.net") == [MxHost(1, "elsewhere.test")]


# ── on the wire ───────────────────────────────────────────────────────────────────────────────────────────────────


class StubServer(asyncio.DatagramProtocol):
    """A name server of a few canned answers."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        name = query.question[0].name.to_text()
        match name.split(".")[0]:
            case "silent":
                return
            case "broken":
                response.set_rcode(dns.rcode.SERVFAIL)
            case "missing":
                response.set_rcode(dns.rcode.NXDOMAIN)
                soa = dns.rrset.from_text("test.", 600, "IN", "SOA", "ns.test. root.test. 1 2 3 4 77")
                response.authority.append(soa)
            case "alias":
                response.answer.append(dns.rrset.from_text(name, 50, "IN", "CNAME", "real.test."))
                response.answer.append(dns.rrset.from_text("real.test.", 40, "IN", "MX", "5 MX.test."))
                response.flags |= dns.flags.AD
            case "short":
                texts = ["3 1 1 00", "3 1 1 " + "ab" * 32]
                response.answer.append(dns.rrset.from_text_list(name, 90, "IN", "TLSA", texts))
            case _:
                response.answer.append(dns.rrset.from_text(name, 90, "IN", "TLSA", "3 1 1 " + "ab" * 32))
        self.transport.sendto(response.to_wire(), peer)


async def test_a_name_server_is_asked() -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(StubServer, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    resolver = Resolver(DnsConfig(servers=(f"127.0.0.1:{port}",), timeout=0.2))
    expected = Answer(((5, "mx.test"),), 40, authentic=True, canonical="real.test")
    assert await resolver.look_up("alias.test", "MX") == expected
    assert [host.authentic for host in await resolver.mx("alias.test")] == [True]
    assert await resolver.look_up("_25._tcp.test", "TLSA") == Answer(("3 1 1 " + "ab" * 32,), 90)
    with pytest.raises(NoSuchDomainError):
        await resolver.mx("missing.test")
    expires, _ = resolver._cache["missing.test", "MX"]
    assert expires - resolver._clock() == pytest.approx(77, abs=1)  # the SOA's minimum
    for name in ("broken.test", "silent.test"):
        with pytest.raises(TemporaryDnsError, match=f"{name} MX"):
            await resolver.mx(name)
    transport.close()


async def test_a_server_that_is_not_there_is_a_temporary_failure() -> None:
    with pytest.raises(TemporaryDnsError):
        await Resolver(DnsConfig(servers=(f"127.0.0.1:{free_port()}",), timeout=0.1)).mx("example.net")


@pytest.mark.parametrize(
    "given",
    [
        {"timeout": 0},
        {"timeout": 61},
        {"cache_size": 1},
        {"servers": ("ns.example.net",)},
        {"servers": ("192.0.2.1:x",)},
        {"servers": ("192.0.2.1:0",)},
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, object]) -> None:
    assert [problem.setting for problem in DnsConfig(**given).problems()] == list(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "server", ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5353"]
)
def test_servers_may_have_ports(server: str) -> None:
    assert DnsConfig(servers=(server,)).servers == (server,)


@pytest.mark.parametrize(
    ("servers", "dnssec", "believed"),
    [
        (("127.0.0.1:5353",), "loopback", True),
        (("[::1]:53", "127.0.0.2"), "loopback", True),
        (("127.0.0.1", "192.0.2.1"), "loopback", False),  # whoever sits on the way there could set AD
        (("192.0.2.1",), "trusted", True),
        (("127.0.0.1",), "off", False),
    ],
)
def test_whose_word_on_dnssec_is_believed(servers: tuple[str, ...], dnssec: Any, believed: bool) -> None:
    assert Resolver(DnsConfig(servers=servers, dnssec=dnssec)).validates is believed


async def test_ad_of_a_server_that_is_not_believed_is_worth_nothing() -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(StubServer, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    resolver = Resolver(DnsConfig(servers=(f"127.0.0.1:{port}",), timeout=0.2, dnssec="off"))
    assert not (await resolver.look_up("alias.test", "MX")).authentic
    transport.close()


async def test_a_tlsa_record_of_the_wrong_length_does_not_spoil_the_others() -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(StubServer, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    resolver = Resolver(DnsConfig(servers=(f"127.0.0.1:{port}",), timeout=30))
    found = await resolver.look_up("short.test", "TLSA")
    assert sorted(found.records) == ["3 1 1 00", "3 1 1 " + "ab" * 32]
    transport.close()
