"""The few names of pyroute2 that we use, brought in without the rest of it.

`pyroute2/__init__.py` imports everything that the library has, 11 MiB of memory and 50 ms of a fast machine's start.
So the package is entered into `sys.modules` unexecuted; its submodules then load one by one, only those below.
What these name and never use here (traffic control, network namespaces' child processes, mocks) is left out too.
Nobody else in Palomar imports pyroute2. Its sockets work on asyncio's own loop only, not on uvloop.
"""

from __future__ import annotations

import importlib.util
import sys

from hw.namedonly import leave_out, put_back

if "pyroute2" not in sys.modules:
    _spec = importlib.util.find_spec("pyroute2")
    if _spec is None:
        raise ModuleNotFoundError("No module named 'pyroute2'; it comes with: pip install 'palomar[hw]'")
    sys.modules["pyroute2"] = importlib.util.module_from_spec(_spec)
    leave_out(
        "ctypes.util",
        "multiprocessing",
        "pyroute2.iproute.ipmock",
        "pyroute2.netlink.rtnl.tcmsg",
        "unittest",
    )

from pyroute2.iproute.linux import AsyncIPRoute  # isort: skip  # first: the others need it
from pyroute2.dhcp import fsm, messages
from pyroute2.dhcp.client import AsyncDHCPClient, ClientConfig
from pyroute2.dhcp.dhcp4msg import dhcp4msg
from pyroute2.dhcp.dhcp4socket import AsyncDHCP4Socket
from pyroute2.dhcp.enums import bootp, dhcp
from pyroute2.dhcp.hooks import Trigger, hook
from pyroute2.dhcp.leases import Lease as DhcpLease
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.uevent import AsyncUeventSocket

put_back()

__all__ = [
    "AsyncDHCP4Socket",
    "AsyncDHCPClient",
    "AsyncIPRoute",
    "AsyncUeventSocket",
    "ClientConfig",
    "DhcpLease",
    "NetlinkError",
    "Trigger",
    "bootp",
    "dhcp",
    "dhcp4msg",
    "fsm",
    "hook",
    "messages",
]
