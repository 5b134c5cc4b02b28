"""Data between processes."""

from underpass._core import (
    Broadcast,
    BroadcastReader,
    BroadcastStatistics,
    Holding,
    Lease,
    Loan,
    MpscRing,
    Packet,
    Pipe,
    PipeStatistics,
    Queue,
    QueueStatistics,
    Ring,
    RingStatistics,
    SpscRing,
    Stack,
    StackStatistics,
    Subscription,
    SubscriptionStatistics,
)
from underpass._objects.lease import ObjectLease
from underpass._objects.queue import ObjectQueue

__all__ = [
    "Broadcast",
    "BroadcastReader",
    "BroadcastStatistics",
    "Holding",
    "Lease",
    "Loan",
    "MpscRing",
    "ObjectLease",
    "ObjectQueue",
    "Packet",
    "Pipe",
    "PipeStatistics",
    "Queue",
    "QueueStatistics",
    "Ring",
    "RingStatistics",
    "SpscRing",
    "Stack",
    "StackStatistics",
    "Subscription",
    "SubscriptionStatistics",
]
