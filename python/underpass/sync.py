"""Synchronisation."""

from underpass._core import (
    AtomicInt,
    AtomicIntStatistics,
    Event,
    EventStatistics,
    Mutex,
    MutexStatistics,
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
    "Mutex",
    "MutexStatistics",
    "Notification",
    "NotificationStatistics",
    "Semaphore",
    "SemaphoreStatistics",
]
