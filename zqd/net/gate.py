"""The gate of one side: who may come in, before any handshake, and which mechanism that handshake has.

Addresses are for TCP alone: at a unix socket the file's mode says who may connect. Loopback is never limited in how
fast it comes. Layer 3. Called by: `device`; made by `zqd.daemon.gates`.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zqd.zmtp.connection import Connection
from zqd.zmtp.handshake import Mechanism, NotAuthorizedError, Null

if TYPE_CHECKING:
    from zqd.zmtp.curve import CurveServer

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MOST_ADDRESSES = 4096  # whose pace is remembered
IPV6_SITE = 64  # bits: who has one IPv6 address has a whole network of them


class Gate:
    """`allow` (nothing: everybody) and `deny` are networks; `rate` is new connections a second of one address, 0 for any.

    With `curve` only peers with CURVE come in, those that its guard admits; without it only peers without.
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        deny: Sequence[Network] = (),
        rate: int = 0,
        curve: CurveServer | None = None,
    ) -> None:
        self.curve = curve
        self._allow = allow
        self._deny = deny
        self._rate = rate
        self._pace: dict[Address | Network, tuple[float, float]] = {}  # connections left, as of when

    def refusal(self, address: str, now: float) -> str | None:
        """Why a peer at this address (as `addresses.address_of` writes it) may not come in; None where it may."""
        peer = _parsed(address)
        if peer is None:
            return None
        reason = self._barred(peer)
        if reason is None and self._rate and not peer.is_loopback and not self._in_pace(peer, now):
            return f"more than {self._rate} connections a second from its address"
        return reason

    def connection(self, socket_type: bytes, max_message_size: int) -> Connection:
        """The protocol state of a peer that has come in."""
        if self.curve is None:
            return Connection(Null(socket_type), socket_type, max_message_size)
        from zqd.zmtp.curve import ENTROPY_SIZE, Curve
        from zqd.zmtp.secured import SecuredConnection

        mechanism = Curve(self.curve, socket_type, os.urandom(ENTROPY_SIZE))
        return SecuredConnection(mechanism, socket_type, max_message_size)

    def still_admits(self, address: str, mechanism: Mechanism) -> str | None:
        """Why a peer that has come in, perhaps by an earlier gate, may not stay; None where it may."""
        peer = _parsed(address)
        barred = None if peer is None else self._barred(peer)
        if barred is not None:
            return barred
        if self.curve is None:
            return None
        if mechanism.name != b"CURVE":
            return "this endpoint uses CURVE now"
        try:
            self.curve.guard.admit(mechanism.peer_key)
        except NotAuthorizedError as refusal:
            return str(refusal)
        return None

    def _barred(self, peer: Address) -> str | None:
        if any(peer in network for network in self._deny):
            return "its address is denied"
        if self._allow and not any(peer in network for network in self._allow):
            return "its address is not among those allowed"
        return None

    def _in_pace(self, peer: Address, now: float) -> bool:
        """A bucket for each address that holds the connections of a second, and fills up in one.

        Being refused takes nothing out of it: who tries again and again gets in at the rate, as libzmq's peers have to.
        """
        who = peer if peer.version == 4 else ipaddress.ip_network((peer, IPV6_SITE), strict=False)
        left, since = self._pace.pop(who, (float(self._rate), now))
        left = min(float(self._rate), left + (now - since) * self._rate)
        if len(self._pace) >= MOST_ADDRESSES:
            del self._pace[next(iter(self._pace))]  # who came last the longest ago
        in_pace = left >= 1
        self._pace[who] = (left - in_pace, now)
        return in_pace


def _parsed(address: str) -> Address | None:
    """The IP address in `127.0.0.1:40312` or `[::1]:40312`; None for a unix socket's peer.

    A socket that systemd passed may be for IPv4 as well as IPv6, and has IPv4 peers as `[::ffff:127.0.0.1]:40312`.
    """
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        peer = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (peer.ipv4_mapped or peer) if peer.version == 6 else peer


def is_loopback(address: str) -> bool:
    """Whether a peer at this address is on this machine."""
    peer = _parsed(address)
    return peer is None or peer.is_loopback
