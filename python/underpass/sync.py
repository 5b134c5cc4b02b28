"""Synchronisation."""

from underpass._core import (
    AtomicInt,
    AtomicIntStatistics,
    Barrier,
    BarrierStatistics,
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
    "Barrier",
    "BarrierStatistics",
    "Event",
    "EventStatistics",
    "Mutex",
    "MutexStatistics",
    "Notification",
    "NotificationStatistics",
    "Semaphore",
    "SemaphoreStatistics",
]
