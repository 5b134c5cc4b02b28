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
    priority,
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
    "priority",
]
