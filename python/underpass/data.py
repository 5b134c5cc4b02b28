"""Data between processes."""

from underpass._core import (
    Broadcast,
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
