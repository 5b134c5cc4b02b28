"""Calls between processes."""

from underpass._core import Gate, GateStatistics, Notified, Peer, Port, PortStatistics, Request

__all__ = ["Gate", "GateStatistics", "Notified", "Peer", "Port", "PortStatistics", "Request"]
