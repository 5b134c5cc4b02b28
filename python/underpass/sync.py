"""Synchronisation."""

from underpass._core import Mutex, MutexStatistics, Semaphore, SemaphoreStatistics

__all__ = ["Mutex", "MutexStatistics", "Semaphore", "SemaphoreStatistics"]
from underpass._core import (
    AtomicInt,
    AtomicIntStatistics,
    Event,
    EventStatistics,
    Notification,
    NotificationStatistics,
    Semaphore,
    SemaphoreStatistics,
)

__all__ = [
    "AtomicInt",
    "AtomicIntStatistics",
    "Event",
    "EventStatistics",
    "Notification",
    "NotificationStatistics",
    "Semaphore",
    "SemaphoreStatistics",
]
