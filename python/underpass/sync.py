"""Synchronisation."""

from underpass._core import Mutex, MutexStatistics, Semaphore, SemaphoreStatistics

__all__ = ["Mutex", "MutexStatistics", "Semaphore", "SemaphoreStatistics"]
