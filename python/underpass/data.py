"""Data between processes."""

from underpass._core import (
    Broadcast,
    BroadcastReader,
    BroadcastStatistics,
    Holding,
    Lease,
    Loan,
    Pipe,
    PipeStatistics,
    Queue,
    QueueStatistics,
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
    "ObjectLease",
    "ObjectQueue",
    "Pipe",
    "PipeStatistics",
    "Queue",
    "QueueStatistics",
    "Stack",
    "StackStatistics",
    "Subscription",
    "SubscriptionStatistics",
]
