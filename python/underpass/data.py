"""Data between processes."""

from underpass._core import (
    Broadcast,
    BroadcastStatistics,
    Holding,
    Lease,
    Loan,
    Queue,
    QueueStatistics,
    Subscription,
    SubscriptionStatistics,
)

__all__ = [
    "Broadcast",
    "BroadcastStatistics",
    "Holding",
    "Lease",
    "Loan",
    "Queue",
    "QueueStatistics",
    "Subscription",
    "SubscriptionStatistics",
]
