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
    Once,
    OnceStatistics,
    OnceTurn,
    Semaphore,
    SemaphoreStatistics,
    atomic_section,
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
    "Once",
    "OnceStatistics",
    "OnceTurn",
    "Semaphore",
    "SemaphoreStatistics",
    "atomic_section",
]
