"""An environment of the peers' own: made once, from a lock file, and entered by running this command in it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from underpass.tools.bench.placement import UnavailableError

_HOME = "underpass.tools.bench.peers"
REQUIREMENTS = "requirements.in"
LOCK = "requirements.lock"

# Stands in an environment in which all has been tried.
COMPLETE = "complete"

# Set in the environment's own process: it goes on where the first one left off.
_ENTERED = "UNDERPASS_BENCH_PEERS"


def entered() -> bool:
    """Whether this process runs in the peers' environment."""
    return _ENTERED in os.environ


def enter() -> None:
    """Run this same command in the peers' environment, in place of this process."""
    python = _environment() / "bin" / "python"
    arguments = [str(python), "-m", "underpass.tools.cli", *sys.argv[1:]]
    # Threads that gRPC starts are not meant to be forked; nobody uses it in a child here.
    os.execve(python, arguments, {**os.environ, _ENTERED: "1", "GRPC_ENABLE_FORK_SUPPORT": "0"})  # noqa: S606  no shell is meant


def name() -> str:
    """How the environment for this interpreter and this lock file is called."""
    digest = hashlib.sha256((files(_HOME) / LOCK).read_bytes()).hexdigest()[:12]
    return f"peers-{sys.version_info.major}.{sys.version_info.minor}-{digest}"


def _environment() -> Path:
    """The environment, with whatever of it could be installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "underpass" / name()
    complete = place / COMPLETE
    if not complete.exists():
        _make(place)
        complete.touch()
    # Whichever underpass this is, and what it stands on, is the one that is measured.
    paths = {_home_of(package) for package in ("underpass", "typer", "rich", "msgspec")}
    if find_spec("greenlet") is not None:  # it comes with the extra `lab`
        paths.add(_home_of("greenlet"))
    [site] = place.glob("lib/python*/site-packages")
    (site / "underpass-under-test.pth").write_text("".join(f"{path}\n" for path in sorted(paths)), encoding="utf-8")
    return place


def _make(place: Path) -> None:
    print(f"underpass bench: installing the peers in {place}, once", file=sys.stderr)
    venv.create(place, clear=True, with_pip=True)
    pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with as_file(files(_HOME) / LOCK) as lock:
        for peer in _peers():
            # One at a time: one that does not install is a row that says so, and the others are measured.
            done = subprocess.run([*pip, "-c", lock, peer], capture_output=True, text=True, check=False)
            complaint = next((line for line in done.stderr.splitlines() if "ERROR" in line), "no reason given")
            print(f"  {peer}: {f'not installed: {complaint}' if done.returncode else 'installed'}", file=sys.stderr)


def _peers() -> list[str]:
    lines = (files(_HOME) / REQUIREMENTS).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _home_of(package: str) -> Path:
    """The directory that a package is imported from."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise UnavailableError(f"{package} is not importable here")
    return Path(found.origin).parent.parent
