"""What only a free-threaded interpreter can show. Not required in CI: `make test PYTHON=python3.14t` runs everything there."""

import subprocess
import sys
import sysconfig

import pytest


def test_import_leaves_the_interpreter_lock_off() -> None:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this interpreter is not a free-threaded build")
    script = "import sys, underpass; sys.exit(sys._is_gil_enabled())"
    assert subprocess.run([sys.executable, "-W", "error", "-c", script], check=False).returncode == 0
