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

__all__ = [
    "Broadcast",
    "BroadcastReader",
    "BroadcastStatistics",
    "Holding",
    "Lease",
    "Loan",
    "Pipe",
    "PipeStatistics",
    "Queue",
    "QueueStatistics",
    "Stack",
    "StackStatistics",
    "Subscription",
    "SubscriptionStatistics",
]
