"""[network]: an empty one works, and what is wrong is told with setting, line and remedy."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from appliance.config import Section
from appliance.document import Document, key_lines
from appliance.errors import Problem
from appliance.reference import settings as declared_settings
from appliance.settings import read_settings
from hw.config import Match, NetworkConfig, NicConfig, Wifi

SECTION = Section("network", NetworkConfig)


def read(text: str) -> tuple[NetworkConfig, list[Problem]]:
    document = Document(tomllib.loads(text), Path("/palomar.toml"), dict(key_lines(text)))
    found, problems = read_settings(document, [SECTION])
    return found[NetworkConfig], problems


@pytest.mark.parametrize("text", ["", "[network]"])
def test_nothing_is_a_configuration(text: str) -> None:
    assert read(text) == (NetworkConfig(), [])


GOOD = """
[network]
hostname = "office"
dns = ["9.9.9.9", "2620:fe::fe"]
ntp = ["ptbtime1.ptb.de", "192.0.2.9"]

[network.wifi]
ssid = "Café"
psk = "correct horse battery"
country = "DE"

[network.nics.eth0]
addresses = ["192.0.2.5/24", "2001:db8::5/64"]
gateway = "192.0.2.1"
gateway6 = "fe80::1"
ipv6 = "static"

[network.nics.stick]
match = { mac = "00:E0:4C:00:00:01", driver = "r8152" }
metric = 50
eee = true
speed = "100"

[network.vlans.voice]
id = 30
on = "stick"
uplink = false

[network.bridges.br0]
ports = ["eth2", "eth3"]
mtu = 1400

[[network.allow]]
port = 8080
sources = ["192.0.2.0/24", "2001:db8::/32"]
"""


def test_everything_that_can_be_set() -> None:
    own, problems = read(GOOD)
    assert problems == []
    assert own.nics["stick"].match == Match(mac="00:E0:4C:00:00:01", driver="r8152")
    assert own.vlans["voice"].on == "stick"
    assert own.bridges["br0"].ports == ("eth2", "eth3")
    assert own.allow[0].sources[1] == "2001:db8::/32"
    assert own.wifi == Wifi(ssid="Café", psk="correct horse battery", country="DE")


NIC = "[network.nics.eth0]\n"
BAD = [
    ('[network]\nhostnam = "x"', "network.hostnam", 2, "Did you mean 'hostname'?"),
    ('[network]\nhostname = "a.b"', "network.hostname", 2, "'a.b' is no host name."),
    ('[network]\nhostname = "-a"', "network.hostname", 2, "no host name"),
    ('[network]\ndns = ["dns.example"]', "network.dns[0]", 2, "Names are not looked up here"),
    ('[network]\ndns = ["1.1.1.1", "1.0.0.1", "9.9.9.9", "8.8.8.8"]', "network.dns", 2, "more than 3"),
    ('[network]\nprobes = ["224.0.0.1"]', "network.probes[0]", 2, "cannot be the address of a server"),
    ('[network]\nntp = ["a b"]', "network.ntp[0]", 2, "no domain name"),
    ("[network]\nmdns = 1", "network.mdns", 2, "must be true or false"),
    ('[network]\nnics = "eth0"', "network.nics", 2, "must be a table"),
    (NIC + 'ipv4 = "static"', "network.nics.eth0.ipv4", 2, "must be one of 'auto', 'dhcp', 'off'"),
    (NIC + 'addresses = ["192.0.2.5"]', "network.nics.eth0.addresses[0]", 2, "has no prefix length"),
    (NIC + 'addresses = ["192.0.2.0/24"]', "network.nics.eth0.addresses[0]", 2, "is a network"),
    (NIC + 'addresses = ["192.0.2.255/24"]', "network.nics.eth0.addresses[0]", 2, "broadcast address"),
    (NIC + 'addresses = ["127.0.0.1/8"]', "network.nics.eth0.addresses[0]", 2, "cannot be the address of a machine"),
    (NIC + 'addresses = ["ff02::1/64"]', "network.nics.eth0.addresses[0]", 2, "cannot be the address of a machine"),
    (NIC + 'addresses = ["192.0.2.5/33"]', "network.nics.eth0.addresses[0]", 2, "is no address"),
    (NIC + 'addresses = ["2001:db8::5/0"]', "network.nics.eth0.addresses[0]", 2, "whole Internet"),
    (
        NIC + 'addresses = ["192.0.2.5/24"]\ngateway = "192.0.3.1"',
        "network.nics.eth0.gateway",
        3,
        "is not in the network",
    ),
    (NIC + 'gateway = "192.0.2.1"', "network.nics.eth0.gateway", 2, "needs an address"),
    (
        NIC + 'addresses = ["192.0.2.5/24"]\ngateway = "192.0.2.1/24"',
        "network.nics.eth0.gateway",
        3,
        "without a prefix",
    ),
    (NIC + 'gateway6 = "192.0.2.1"', "network.nics.eth0.gateway6", 2, "cannot be an IPv6 router"),
    (
        NIC + 'addresses = ["192.0.2.5/24"]\ngateway = "192.0.2.1"\nuplink = false',
        "network.nics.eth0.gateway",
        3,
        "is of no use with uplink = false",
    ),
    (NIC + 'addresses = ["2001:db8::5/64"]\nipv6 = "off"', "network.nics.eth0.ipv6", 3, "is off, but addresses has"),
    (NIC + "metric = 10000", "network.nics.eth0.metric", 2, "must be within 2..9999"),
    (NIC + "mtu = 1000", "network.nics.eth0.mtu", 2, "must be within 1280..9216 octets"),
    (NIC + 'speed = "1000"', "network.nics.eth0.speed", 2, "must be one of"),
    (NIC + 'match = { mac = "01:00:5e:00:00:01" }', "network.nics.eth0.match.mac", 2, "cannot be the MAC address"),
    (NIC + 'match = { mac = "zz" }', "network.nics.eth0.match.mac", 2, "is no MAC address"),
    (NIC + 'match = { name = "a b" }', "network.nics.eth0.match.name", 2, "cannot be the name of an interface"),
    ('[network.nics."e/0"]\nmtu = 1400', 'network.nics."e/0"', 1, "cannot be the name of an interface"),
    ("[network.nics.aninterfacetoolong]", "network.nics.aninterfacetoolong", 1, "at most 15"),
    ('[network.wifi]\nssid = "x"', "network.wifi.country", 1, "must be set for Wi-Fi"),
    ('[network.wifi]\nssid = "x"\ncountry = "Germany"', "network.wifi.country", 3, "two capital letters"),
    ('[network.wifi]\nssid = "x"\ncountry = "DE"\npsk = "short"', "network.wifi.psk", 4, "8 to 63"),
    ('[network.wifi]\nssid = "x"\ncountry = "DE"\npsk = "ümläute sind lang"', "network.wifi.psk", 4, "ASCII"),
    ('[network.wifi]\npsk = "long enough"', "network.wifi.ssid", 1, "must be set, as psk is"),
    (f'[network.wifi]\nssid = "{"ü" * 17}"\ncountry = "DE"', "network.wifi.ssid", 2, "longer than 32 octets"),
    ('[network.vlans.a]\non = "eth0"', "network.vlans.a.id", 1, "must be within 1..4094"),
    ("[network.vlans.a]\nid = 5", "network.vlans.a.on", 1, "must be set"),
    (
        '[network.vlans.a]\nid = 5\non = "b"\n[network.vlans.b]\nid = 6\non = "eth0"',
        "network.vlans.a.on",
        3,
        "is a VLAN itself",
    ),
    (
        '[network.vlans.a]\nid = 5\non = "eth0"\n[network.vlans.b]\nid = 5\non = "eth0"',
        "network.vlans.b.id",
        5,
        "is the same VLAN as 'a'",
    ),
    ("[network.bridges.br0]\nports = []", "network.bridges.br0.ports", 2, "must name an interface"),
    ('[network.bridges.br0]\nports = ["eth0", "eth0"]', "network.bridges.br0.ports", 2, "is there twice"),
    (
        '[network.bridges.b1]\nports = ["eth0"]\n[network.bridges.b2]\nports = ["eth0"]',
        "network.bridges.b2.ports[0]",
        4,
        "is in 'b1' already",
    ),
    (
        '[network.bridges.b1]\nports = ["b2"]\n[network.bridges.b2]\nports = ["eth0"]',
        "network.bridges.b1.ports[0]",
        2,
        "is a bridge itself",
    ),
    (
        '[network.bridges.b1]\nports = ["v"]\n[network.vlans.v]\nid = 1\non = "b1"',
        "network.bridges.b1.ports[0]",
        2,
        "is a VLAN on a bridge",
    ),
    (
        NIC + 'addresses = ["192.0.2.5/24"]\n[network.bridges.b1]\nports = ["eth0"]',
        "network.bridges.b1.ports[0]",
        4,
        "Move them to network.bridges.b1",
    ),
    (NIC + '[network.bridges.eth0]\nports = ["eth1"]', "network.bridges.eth0", 2, "has the name of another table"),
    (NIC + '[network.vlans.eth0]\nid = 1\non = "eth1"', "network.vlans.eth0", 2, "name of an interface's table"),
    (
        NIC + 'addresses = ["192.0.2.5/24"]\n[network.nics.eth1]\naddresses = ["192.0.2.5/25"]',
        "network.nics.eth1.addresses[0]",
        4,
        "192.0.2.5 is at nics.eth0 too",
    ),
    (NIC + "metric = 50\n[network.nics.eth1]\nmetric = 50", "network.nics.eth1.metric", 4, "is that of nics.eth0 too"),
    (
        NIC + 'match = { mac = "02:00:00:00:00:01" }\n[network.nics.eth1]\nmatch = { mac = "02-00-00-00-00-01" }',
        "network.nics.eth1.match.mac",
        4,
        "is that of nics.eth0 too",
    ),
    ("[[network.allow]]\nport = 0", "network.allow[0].port", 2, "must be within 1..65535"),
    ('[[network.allow]]\nport = 80\nprotocol = "sctp"', "network.allow[0].protocol", 3, "must be one of"),
    ('[[network.allow]]\nport = 80\nsources = ["192.0.2.1/24"]', "network.allow[0].sources[0]", 3, "is no network"),
]


@pytest.mark.parametrize(("text", "setting", "line", "words"), BAD, ids=[f"{one[1]}-{i}" for i, one in enumerate(BAD)])
def test_what_is_wrong_is_told_where_it_stands(text: str, setting: str, line: int, words: str) -> None:
    _, problems = read(text)
    found = [one for one in problems if one.setting == setting]
    assert len(found) == 1, [str(one) for one in problems]
    assert words in f"{found[0].text} {found[0].remedy}"
    assert found[0].line == line
    assert found[0].remedy.endswith((".", "?"))


def test_everything_is_told_at_once() -> None:
    _, problems = read("\n".join(text for text, *_ in (BAD[0], BAD[29], BAD[31])))
    assert len(problems) == 3


def test_only_the_passphrase_is_secret() -> None:
    own = NicConfig.__dataclass_fields__
    assert not any(field.metadata["secret"] for field in own.values())
    assert Wifi.__dataclass_fields__["psk"].metadata["secret"]


def test_every_setting_is_documented_once() -> None:
    names = [f"{one.section}.{one.name}" for one in declared_settings([SECTION])]
    assert len(names) == len(set(names)) > 50
    assert all(one.help.endswith(".") for one in declared_settings([SECTION]))


def test_the_configuration_in_the_network_page_is_right() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "network.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    own, problems = read(block)
    assert problems == []
    assert own.nics["backup"].metric == 500
