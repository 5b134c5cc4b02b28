"""The native module in which a fault can be planted: `make test` builds it, beside the one that is right."""

import importlib.util
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

VERSION = "" if "-" not in Path(sys.prefix).name else Path(sys.prefix).name[len(".venv") :]
PLANTED = Path(__file__).parents[1] / "target" / f"planted{VERSION}" / "_core.so"
NAME = "underpass._core"


def load() -> None:
    """Make it what `underpass` imports in this process, which has not done so yet. No fault is planted."""
    loader = ExtensionFileLoader(NAME, str(PLANTED))
    spec = importlib.util.spec_from_file_location(NAME, PLANTED, loader=loader)
    assert spec is not None
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)


def plant(fault: str) -> None:
    """Plant one of the faults of crates/underpass-core/src/planted.rs, for this thread and those forked from it."""
    sys.modules[NAME].plant(fault)
