"""The plan applied to the fake kernel: idempotent, and what drifts is repaired."""

from __future__ import annotations

from hw import kernel as k
from hw.apply import Applier, describe
from hw.config import BridgeConfig, NetworkConfig, NicConfig, VlanConfig
from hw.fake import FakeKernel
from hw.nics import Nic
from hw.plan import plan
from hw.wanted import Inventory, Plan

STATIC = NicConfig(addresses=("192.0.2.5/24", "2001:db8::5/64"), gateway="192.0.2.1", gateway6="fe80::1")


def nic(name: str, number: int) -> Nic:
    return Nic(name=name, index=number, mac=f"02:00:00:00:00:{number:02x}", carrier=True)


async def planned(kernel: FakeKernel, config: NetworkConfig) -> Plan:
    return plan(Inventory(nics=tuple(link.nic for link in (await kernel.read()).links)), config)


async def test_a_second_time_changes_nothing() -> None:
    kernel = FakeKernel(nic("eth0", 2))
    wanted = await planned(kernel, NetworkConfig(nics={"eth0": STATIC}))
    applier = Applier(kernel)
    first = await applier.apply(wanted)
    assert not first.refused
    assert "add the address 192.0.2.5/24 to eth0" in first.words
    assert "add the route to everywhere by 192.0.2.1 on eth0, metric 200" in first.words
    assert (await applier.apply(wanted)).made == ()


async def test_drift_is_repaired() -> None:
    kernel = FakeKernel(nic("eth0", 2))
    wanted = await planned(kernel, NetworkConfig(nics={"eth0": STATIC}))
    applier = Applier(kernel)
    await applier.apply(wanted)
    before = await kernel.read()
    await kernel.make(k.DeleteAddress("eth0", "192.0.2.5/24"))
    await kernel.make(k.AddAddress("eth0", "198.51.100.9/24"))
    await applier.apply(wanted)
    after = await kernel.read()
    assert {one.address for one in after.addresses} == {one.address for one in before.addresses}
    assert {one.route for one in after.routes} == {one.route for one in before.routes}


async def test_vlans_and_bridges_come_and_go() -> None:
    kernel = FakeKernel(nic("eth0", 2), nic("eth1", 3))
    config = NetworkConfig(
        vlans={"office": VlanConfig(id=7, on="eth0", addresses=("192.0.2.5/24",))},
        bridges={"lan": BridgeConfig(ports=("eth1",))},
    )
    applier = Applier(kernel)
    assert not (await applier.apply(await planned(kernel, config))).refused
    links = {link.nic.name: link for link in (await kernel.read()).links}
    assert (links["office"].parent, links["office"].vlan_id) == ("eth0", 7)
    assert links["eth1"].master == "lan"
    await applier.apply(await planned(kernel, NetworkConfig()))
    assert {link.nic.name for link in (await kernel.read()).links} == {"eth0", "eth1"}


async def test_one_refusal_stops_nothing_else() -> None:
    kernel = FakeKernel(nic("eth0", 2))
    wanted = await planned(kernel, NetworkConfig(nics={"eth0": STATIC}))
    kernel.unplug("eth0")
    outcome = await Applier(kernel).apply(wanted)
    assert not outcome.refused  # what is not there is not touched


def test_every_change_has_words() -> None:
    assert describe(k.SetLink(name="eth0", mtu=1400, up=True)) == "give eth0 the MTU 1400 and switch eth0 on"
    assert describe(k.SetLink(name="eth0", master="")) == "take eth0 out of its bridge"
