"""`python -m tests.crash.stepping.planted`: the same deaths, inflicted on a native module with faults that have to be found."""

import importlib.util
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

VERSION = "" if "-" not in Path(sys.prefix).name else Path(sys.prefix).name[len(".venv") :]
PLANTED = Path(__file__).parents[3] / "target" / f"planted{VERSION}" / "_core.so"


def load() -> None:
    """Make it what `underpass` imports."""
    name = "underpass._core"
    loader = ExtensionFileLoader(name, str(PLANTED))
    spec = importlib.util.spec_from_file_location(name, PLANTED, loader=loader)
    assert spec is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)


if __name__ == "__main__":
    load()
    from tests.crash.stepping.__main__ import main

    sys.exit(main())
