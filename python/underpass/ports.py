"""Calls between processes."""

from underpass._core import Gate, Peer, Port, PortStatistics, Request

__all__ = ["Gate", "Peer", "Port", "PortStatistics", "Request"]
