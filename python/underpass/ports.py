"""Calls between processes."""

from underpass._core import Gate, GateStatistics, Notified, Peer, Port, PortStatistics, Request
from underpass._core import in_lab as in_lab  # noqa: PLC0414 - for the interfaces, whose servers have threads elsewhere

__all__ = ["Gate", "GateStatistics", "Notified", "Peer", "Port", "PortStatistics", "Request"]
