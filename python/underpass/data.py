"""Data between processes."""

from underpass._core import Holding, Lease, Loan, Pipe, PipeStatistics, Queue, QueueStatistics

__all__ = ["Holding", "Lease", "Loan", "Pipe", "PipeStatistics", "Queue", "QueueStatistics"]
