import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from underpass.tools.bench.peers import environment
from underpass.tools.bench.peers.groups import ECHOES, FLOWS, GROUPS, TARGETS

# It makes an environment and forks a dozen partners: more than a minute on a machine that does much else.
pytestmark = pytest.mark.timeout(180)

QUICKLY = "round trips,one producer,contention,wakes"


def bench(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "underpass.tools.cli", "bench", *options],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={**os.environ, **variables},
    )


@pytest.fixture(scope="module")
def without_peers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run says where nothing can be installed: pip is told of no index at all."""
    cache = tmp_path_factory.mktemp("cache")
    done = bench(
        "--peers", "--quick", "--json", "--only", QUICKLY, XDG_CACHE_HOME=str(cache), PIP_NO_INDEX="1", PIP_RETRIES="0"
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    results["said"] = done.stderr
    results["environment"] = [str(path.relative_to(cache)) for path in cache.glob("underpass/*")]
    return results


def test_peer_that_does_not_install_is_a_row_that_says_so(without_peers: dict[str, Any]) -> None:
    absent = {row["name"]: row["reason"] for row in without_peers["absent"] if row["placement"] == "two CPUs"}
    for peer in (*ECHOES, *FLOWS):
        if peer.module:
            assert absent[peer.name] == "not installed"


def test_installation_names_each_peer_and_its_failure(without_peers: dict[str, Any]) -> None:
    for peer in ("pyzmq", "grpcio", "iceoryx2", "posix_ipc", "faster-fifo", "rpyc"):
        assert f"  {peer}: not installed: ERROR: " in without_peers["said"]


def test_underpass_and_the_standard_library_are_measured_without_them(without_peers: dict[str, Any]) -> None:
    rows = {(row["group"], row["name"]): row for row in without_peers["rows"]}
    for group, name in (
        ("round trips", "underpass call"),
        ("round trips", "os.pipe"),
        ("one producer", "underpass.Queue put, get"),
        ("contention", "multiprocessing.Lock"),
        ("contention", "underpass.Mutex"),
        ("wakes", "eventfd"),
        ("wakes", "underpass.Semaphore"),
    ):
        assert rows[group, name]["median"] > 0


def test_environment_is_one_for_each_interpreter_and_lock_file(without_peers: dict[str, Any]) -> None:
    [place] = without_peers["environment"]
    assert place.startswith(f"underpass/peers-{sys.version_info.major}.{sys.version_info.minor}-")
    assert place == f"underpass/{environment.name()}"


def test_lock_file_pins_every_peer() -> None:
    home = Path(environment.__file__).parent
    pinned = {
        line.partition("==")[0].replace("-", "_")
        for line in (home / environment.LOCK).read_text().splitlines()
        if "==" in line
    }
    wanted = [line for line in (home / environment.REQUIREMENTS).read_text().splitlines() if not line.startswith("#")]
    assert {name.replace("-", "_") for name in wanted} <= pinned


def test_every_target_names_a_group() -> None:
    assert {target.group for target in TARGETS} <= set(GROUPS)


def test_plot_without_peers_is_refused(tmp_path: Path) -> None:
    done = bench("--plot", str(tmp_path / "plot.svg"), "--quick")
    assert done.returncode == 2
    assert "--peers only" in done.stderr
