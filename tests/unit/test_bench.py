import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from underpass.tools.bench import (
    awaits,
    calls,
    copies,
    deaths,
    fairness,
    flags,
    idle,
    imports,
    limits,
    locks,
    many,
    objects,
    queues,
    run,
    standard,
    wakes,
)
from underpass.tools.bench.groups import GROUPS
from underpass.tools.bench.measure import (
    QUICK,
    Absent,
    Contestant,
    Effort,
    Row,
    Sampler,
    compete,
    percentile,
)
from underpass.tools.bench.placement import Placement, Seats, UnavailableError
from underpass.tools.bench.report import duration, rate
from underpass.tools.bench.targets import TARGETS, Target, judge

MEMORY = Path("/dev/shm")  # noqa: S108 - where the bench makes its space
LIMITS = {limits.SPIN, limits.MESSAGE, limits.FUTEX}
PEERS = {standard.PIPE, standard.QUEUE, standard.EVENTFD}
# What a run measures, and where.
EVERYTHING: dict[tuple[str, str], set[str]] = {
    ("calls", "two CPUs"): LIMITS | PEERS | {calls.CALL},
    ("calls", "unpinned"): LIMITS | PEERS | {calls.CALL},
    ("calls", "one CPU"): PEERS | {limits.FUTEX, calls.CALL},
    ("calls", "asleep on the other CPU"): {limits.FUTEX, calls.CALL},
    **{
        ("locks", place): {locks.THREAD_LOCK, locks.PROCESS_LOCK, locks.SEMAPHORE, locks.MUTEX, locks.READING}
        for place in ("one CPU", "unpinned")
    },
    **{
        ("contended", place): {
            *(locks.PROCESS_LOCK, locks.PROCESS_SEMAPHORE, locks.SEMAPHORE, locks.MUTEX),
            *(locks.SEMAPHORE_IN_TURN, locks.MUTEX_IN_TURN, locks.READING, locks.READING_ALONE),
        }
        for place in ("two CPUs", "unpinned")
    },
    ("fairness", "two CPUs"): {contestant.name for contestant in fairness.SHARES},
    ("wakes", "two CPUs"): {wake.name for wake in wakes.WAKES},
    ("many", "one CPU"): {contestant.name for contestant in many.WAITS},
    **{("flags", place): {contestant.name for contestant in flags.OPERATIONS} for place in ("one CPU", "unpinned")},
    **{
        ("queues", place): {queues.PEER_QUEUE, queues.PEER_PIPE, queues.ONE_EACH, queues.MANY, queues.HANDED_ON}
        for place in ("two CPUs", "unpinned")
    },
    **{("objects", place): {contestant.name for contestant in objects.OBJECTS} for place in ("two CPUs", "unpinned")},
    ("copies", "one CPU"): {contestant.name for contestant in copies.COPIES},
    ("publishing", "two CPUs"): {contestant.name for contestant in copies.PUBLISHING},
    **{
        ("creation", place): {
            *(locks.CREATE_LOCK, locks.CREATE_SEMAPHORE, locks.CREATE_MUTEX),
            *(locks.CREATE_QUEUE, locks.CREATE_PORT),
        }
        for place in ("one CPU", "unpinned")
    },
    ("aio", "one CPU"): {
        *(awaits.EVENTFD, awaits.NOTIFICATION),
        *(awaits.EVENTFD_UVLOOP, awaits.NOTIFICATION_UVLOOP),
    },
    ("idle", "unpinned"): {idle.PEER_PIPE, idle.SEMAPHORE, idle.QUEUE, idle.PORT},
    ("import", "unpinned"): {"import multiprocessing", imports.UNDERPASS},
    ("death", "unpinned"): {deaths.LEASE, deaths.SERVER},
}
# It measures everything there is: longer than other tests may take, on a machine that does much else.
pytestmark = pytest.mark.timeout(180)
TWO_CPUS = len(os.sched_getaffinity(0)) > 1


def bench(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own: the bench forks, and pytest's watchdog is a thread."""
    return subprocess.run(
        [sys.executable, "-c", f"import os\nfrom underpass.tools.bench import run\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def measured(document: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for row in document["rows"]:
        found.setdefault((row["group"], row["placement"]), set()).add(row["name"])
    return found


@pytest.mark.skipif(not TWO_CPUS, reason="needs two CPUs")
def test_quick_run_yields_every_row_and_verdict_as_one_json_document() -> None:
    done = bench("raise SystemExit(run(json=True, quick=True))")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["absent"] == []
    assert measured(document) == EVERYTHING
    assert document["command"] == "underpass bench --json --quick"
    assert {"cpus", "kernel", "python"} <= document["machine"].keys()
    assert [verdict["claim"] for verdict in document["verdicts"]] == [target.claim for target in TARGETS]
    assert all(verdict["met"] in {True, False} for verdict in document["verdicts"])
    assert all(row["samples"] >= 1 for row in document["rows"])
    assert all(row["p99"] >= row["median"] >= 0 for row in document["rows"] if row["unit"] != "share")
    assert all(0 <= row["p99"] <= row["median"] <= 1 for row in document["rows"] if row["unit"] == "share")


def test_tables_name_the_machine_and_the_command() -> None:
    done = bench("raise SystemExit(run(quick=True, only='locks, import'))")
    assert done.returncode == 0, done.stderr
    first, *_ = lines = done.stdout.splitlines()
    assert first == "underpass bench --quick --only 'locks, import'"
    assert any(line.startswith("kernel:") for line in lines)
    assert GROUPS["locks"].title in lines
    assert any(line.startswith("import underpass: under 30 ms") for line in lines)
    assert GROUPS["calls"].title not in lines


def test_without_a_compiler_the_limits_are_absent_and_the_reason_is_one_line() -> None:
    done = bench("raise SystemExit(run(json=True, quick=True, only='calls'))", CC="no-such-compiler")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    reasons = {absent["reason"] for absent in document["absent"] if absent["name"] in LIMITS}
    assert any("no C compiler" in reason and "\n" not in reason for reason in reasons)
    assert calls.CALL in measured(document)["calls", "one CPU"]
    assert None in {verdict["met"] for verdict in document["verdicts"]}


def test_on_one_cpu_what_needs_two_is_absent() -> None:
    program = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nraise SystemExit(run(json=True, quick=True, only='queues'))"
    document = json.loads(bench(program).stdout)
    assert {absent["placement"] for absent in document["absent"]} == {"two CPUs"}
    assert {absent["reason"] for absent in document["absent"]} == {"this process may use one CPU only"}
    assert measured(document).keys() == {("queues", "unpinned")}


def test_unknown_group_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(only="calls,cals") == 2
    assert capsys.readouterr().err == f"underpass bench: no group cals; there are {', '.join(GROUPS)}\n"


def test_interrupt_ends_the_bench_and_all_its_processes(private_space: Path) -> None:
    program = "from underpass.tools.bench import run; raise SystemExit(run(only='idle'))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(children.read_text().split()) < len(EVERYTHING["idle", "unpinned"]):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == b"underpass bench: interrupted\n"
    # A servant of multiprocessing ends when it finds its parent gone.
    deadline = time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, 0)
            assert time.monotonic() < deadline, "somebody of the bench goes on"
    assert {path.name for path in private_space.iterdir()} <= {".lives"}
    assert not list(MEMORY.glob(f"underpass-bench-{process.pid}-*"))


@pytest.mark.parametrize(
    ("samples", "percent", "expected"),
    [
        ([7.0], 99, 7.0),
        ([7.0], 0, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([float(n) for n in range(1, 201)], 99, 198.0),
        ([1.0] * 99 + [1000.0], 99, 1.0),
        ([1.0] * 98 + [1000.0] * 2, 99, 1000.0),
    ],
)
def test_percentile_is_the_nearest_rank(samples: list[float], percent: float, expected: float) -> None:
    assert percentile(samples, percent) == expected


def test_percentile_refuses_no_samples_and_impossible_ranks() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)
    with pytest.raises(ValueError, match="not 101"):
        percentile([1.0], 101)


def scripted(name: str, log: list[str], *rounds: float | None, failing: bool = False) -> Contestant:
    """A contestant whose rounds take given times; None fails."""

    @contextlib.contextmanager
    def opened(_seats: Seats, _batch: int) -> Generator[Sampler]:
        if failing:
            raise UnavailableError("it is not here")
        times = iter(rounds)

        def sample(count: int) -> list[float]:
            log.append(name)
            time = next(times)
            if time is None:
                raise UnavailableError("it broke")
            return [time] * count

        yield sample

    return Contestant(name, opened, samples=3, warm_up=False)


def test_contestants_take_turns_and_compare_round_by_round() -> None:
    log: list[str] = []
    contestants = [scripted("a", log, 10.0, 100.0, 10.0), scripted("b", log, 20.0, 200.0, 90.0)]
    effort = Effort(rounds=3, divisor=1, idle_seconds=0)
    first, second = compete("group", contestants, Placement.UNPINNED, effort)
    assert log == ["a", "b"] * 3
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.reference, first.ratio) == ("a", 1.0)
    assert (second.median, second.samples, second.rounds, second.ratio) == (90.0, 9, (20.0, 200.0, 90.0), 2.0)


def test_a_contestant_that_fails_leaves_the_others_in_the_contest() -> None:
    log: list[str] = []
    contestants = [
        scripted("absent", log, failing=True),
        scripted("breaks", log, 1.0, None),
        scripted("stays", log, 5.0, 5.0),
    ]
    outcomes = list(compete("group", contestants, Placement.UNPINNED, QUICK))
    reasons = {outcome.name: outcome.reason for outcome in outcomes if isinstance(outcome, Absent)}
    assert reasons == {"absent": "it is not here", "breaks": "it broke"}
    assert [(row.name, row.reference) for row in outcomes if isinstance(row, Row)] == [("stays", "stays")]
    assert log == ["breaks", "stays", "breaks", "stays"]


def row(name: str, *rounds: float, p99: float = 0.0) -> Row:
    median = percentile(rounds, 50)
    return Row("group", name, Placement.UNPINNED, median, p99, len(rounds), 1, rounds, None, None)


TARGET = Target(
    "at most twice the limit",
    "group",
    Placement.UNPINNED,
    "ours",
    against="limit",
    bound=lambda limit: 2 * limit,
    aim=lambda limit: limit,
)


def test_verdicts_compare_with_the_limit_of_the_same_round() -> None:
    # The machine was slow in the second half: the limit's median is of the fast half, ours of the slow one.
    limit, ours = row("limit", 10.0, 10.0, 10.0, 40.0, 40.0), row("ours", 19.0, 19.0, 76.0, 76.0, 76.0)
    (verdict,) = judge([TARGET], [limit, ours])
    assert (verdict.measured, verdict.limit, verdict.aim) == (76.0, 20.0, 10.0)
    assert verdict.of_limit == pytest.approx(0.95)
    assert verdict.met is True


def test_verdict_is_missed_above_the_limit_and_none_without_it() -> None:
    (verdict,) = judge([TARGET], [row("limit", 10.0), row("ours", 21.0)])
    assert verdict.met is False
    (verdict,) = judge([TARGET], [row("ours", 21.0)])
    assert verdict.met is None
    (verdict,) = judge([TARGET], [row("limit", 10.0)])
    assert verdict.met is None


def test_what_is_promised_for_every_time_is_judged_by_the_slowest() -> None:
    def hundred(_: float) -> float:
        return 100.0

    target = dataclasses.replace(TARGET, against=None, bound=hundred, worst=True)
    (verdict,) = judge([target], [row("ours", 10.0, p99=99.0)])
    assert (verdict.met, verdict.measured) == (True, 99.0)
    (verdict,) = judge([target], [row("ours", 10.0, p99=101.0)])
    assert verdict.met is False


def test_every_target_names_rows_that_are_measured() -> None:
    for target in TARGETS:
        names = EVERYTHING[target.group, target.placement]
        assert target.name in names
        assert target.against is None or target.against in names


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0 ns"), (4.4, "4.40 ns"), (336, "336 ns"), (52_345, "52.3 µs"), (2e6, "2.00 ms"), (1.5e9, "1.50 s")],
)
def test_durations_have_three_digits_and_a_unit(nanoseconds: float, text: str) -> None:
    assert duration(nanoseconds) == text


def test_rates_are_millions_a_second() -> None:
    assert rate(250) == "4.00 M/s"
