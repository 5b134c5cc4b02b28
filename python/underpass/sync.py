"""Synchronisation."""

from underpass._core import Semaphore, SemaphoreStatistics

__all__ = ["Semaphore", "SemaphoreStatistics"]
