"""Two things that netlink has no message for in pyroute2: Energy-Efficient Ethernet off, and 100 Mb/s at most.

By ioctl SIOCETHTOOL (linux/ethtool.h). EEE makes the links of several Raspberry Pi boards flap against some switches;
a link that flaps at 1000 Mb/s mostly holds at 100. Both say False where the driver does not know how.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import socket
import struct
from collections.abc import Callable

log = logging.getLogger(__name__)

_SIOCETHTOOL = 0x8946
_GET_EEE, _SET_EEE = 0x44, 0x45
_GET_SETTINGS, _SET_SETTINGS = 0x1, 0x2
_EEE = struct.Struct("=10I")  # ethtool_eee: cmd supported advertised lp active enabled tx_lpi_enabled timer reserved[2]
_ENABLED = 5
_SETTINGS = struct.Struct("=IIIHBBBBBBIIHBBI8x")  # ethtool_cmd
_ADVERTISING, _AUTONEG = 2, 8
_OBSOLETE = (7, 10, 11)  # transceiver, maxtxpkt, maxrxpkt
GIGABIT = 1 << 4 | 1 << 5  # ADVERTISED_1000baseT_Half and _Full
FASTER = 1 << 12 | 1 << 15 | 1 << 17  # 10000baseT, 2500baseX, 1000baseKX
HUNDRED = 1 << 2 | 1 << 3

Exchange = Callable[[str, bytes], bytes]
"""Hands the kernel a structure for an interface and returns what it made of it. Raises OSError."""


def exchange(nic: str, octets: bytes) -> bytes:
    """One SIOCETHTOOL for one interface. Raises OSError."""
    buffer = ctypes.create_string_buffer(octets, len(octets))
    request = struct.pack("16sP16x", nic.encode()[:15], ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCETHTOOL, request)
    return buffer.raw


def eee_off(nic: str, exchange: Exchange = exchange) -> bool:
    """Turn Energy-Efficient Ethernet off. True if it is off now; False where the driver cannot tell or do it."""
    try:
        values = list(_EEE.unpack(exchange(nic, _EEE.pack(_GET_EEE, *[0] * 9))))
        if not values[_ENABLED]:
            return True
        values[0], values[2], values[_ENABLED], values[6] = _SET_EEE, 0, 0, 0
        exchange(nic, _EEE.pack(*values))
    except OSError as error:
        _told(nic, "Energy-Efficient Ethernet", error)
        return False
    log.info("%s: Energy-Efficient Ethernet is off now", nic)
    return True


def limit_to_100(nic: str, exchange: Exchange = exchange) -> bool:
    """Offer at most 100 Mb/s from now on. True if the driver took it."""
    try:
        values = list(_SETTINGS.unpack(exchange(nic, _SETTINGS.pack(_GET_SETTINGS, *[0] * 15))))
        values[0], values[_AUTONEG] = _SET_SETTINGS, 1
        for obsolete in _OBSOLETE:
            values[obsolete] = 0  # the kernel gives them, and refuses to take them back
        values[_ADVERTISING] = (values[_ADVERTISING] or values[1]) & ~(GIGABIT | FASTER)
        if not values[_ADVERTISING] & HUNDRED:
            return False
        exchange(nic, _SETTINGS.pack(*values))
    except OSError as error:
        _told(nic, "the speed", error)
        return False
    log.warning("%s: offers 100 Mb/s at most from now on", nic)
    return True


def _told(nic: str, what: str, error: OSError) -> None:
    level = logging.DEBUG if error.errno in {errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL} else logging.WARNING
    log.log(level, "%s: %s cannot be changed: %s", nic, what, error.strerror)
