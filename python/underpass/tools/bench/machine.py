"""What a result depends on beside the program: the machine, its kernel, its Python."""

from __future__ import annotations

import os
import platform
import sysconfig
from importlib.metadata import version
from pathlib import Path


def facts() -> dict[str, str]:
    """The facts that a reader of the results needs, in the order in which they read."""
    return {
        "cpus": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} usable, {_cpu_model()}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {_build()}",
        "underpass": version("underpass"),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _build() -> str:
    flags = [
        ("free-threaded", bool(sysconfig.get_config_var("Py_GIL_DISABLED"))),
        ("debug", bool(sysconfig.get_config_var("Py_DEBUG"))),
        ("optimised by profile", "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")),
    ]
    return ", ".join([*(name for name, present in flags if present), platform.python_compiler()])
