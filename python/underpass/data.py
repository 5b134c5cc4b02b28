"""Data between processes."""

from underpass._core import Holding, Lease, Loan, Queue, QueueStatistics

__all__ = ["Holding", "Lease", "Loan", "Queue", "QueueStatistics"]
