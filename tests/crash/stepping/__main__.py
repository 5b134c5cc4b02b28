"""Death at every instruction: `python -m tests.crash.stepping`.

Prints a row for each operation and company: instructions of the call, those that others can tell of, deaths before and after these
(`scenario.py` says why that is enough), how many of them came elsewhere, and what they led to. The exit is not zero if after one of
them somebody hung, something was lost or left, or the state was not what a part of the operation explains.
"""

import argparse
import gc
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.crash.stepping.middles import Forked, Stopped
from tests.crash.stepping.operation import AnyOperation, Company
from tests.crash.stepping.report import as_page, as_table, put_into
from tests.crash.stepping.scenario import Failure, Report, Scenario
from tests.crash.stepping.table import OPERATIONS
from underpass import Semaphore, Space, TimedOut, _core

HOUSEKEEPING = {".lives"}
INFLICTIONS: dict[str, type[Scenario]] = {"death": Scenario, "stop": Stopped, "fork": Forked}
# Deaths that are drawn of a scenario at once: to prepare one takes as long as some thirty of them.
HANDFUL = 4


@contextmanager
def space() -> Generator[Callable[[], None]]:
    """Give this process and its children a space to themselves; yield a look at what was left there."""
    path = tempfile.mkdtemp(prefix="underpass-stepping-", dir="/dev/shm")
    os.environ["UNDERPASS_DIR"] = path

    def check() -> None:
        Space.default().sweep()
        left = {file.name for file in Path(path).iterdir()} - HOUSEKEEPING
        assert not left, f"left in the space: {sorted(left)}"

    try:
        yield check
    finally:
        shutil.rmtree(path, ignore_errors=True)


def settle(cpu: int) -> None:
    """Do once what every process does at its first operation, so that each victim takes the same way."""
    # Whoever has one processor does not spin: how long that lasts is a matter of chance. Stepping is also quicker so.
    os.sched_setaffinity(0, {cpu})
    _core.set_recheck(None)
    with suppress(TimedOut):
        Semaphore(0).acquire(timeout=0.001)
    gc.collect()
    gc.freeze()
    gc.disable()


def drawn(
    scenarios: list[tuple[AnyOperation, Company]], count: int, seed: int
) -> dict[tuple[AnyOperation, Company], list[Fraction]]:
    """Draw deaths: the scenario, and how far into it."""
    dice = random.Random(seed)
    scenario = scenarios[0]
    draws: dict[tuple[AnyOperation, Company], list[Fraction]] = {}
    for number in range(count):
        if number % HANDFUL == 0:
            scenario = dice.choice(scenarios)
        draws.setdefault(scenario, []).append(Fraction(dice.random()))
    return draws


def run(
    scenario: tuple[AnyOperation, Company],
    far: list[Fraction] | None,
    prepare: Callable[[AnyOperation, Company], Scenario],
    progress: Callable[[int, int], None],
) -> Report:
    """Inflict it in one scenario: everywhere, or as far into it as was drawn."""
    operation, company = scenario
    try:
        prepared = prepare(operation, company)
    except AssertionError as error:
        failure = Failure(f"{operation}, {company.value}", "all", f"not one death is needed: {error}")
        return Report(operation, company, 0, failures=[failure])
    try:
        ends = prepared.ends
        chosen = ends if far is None else [ends[int(part * len(ends))] for part in far]
        return prepared.run(chosen, lambda done: progress(done, len(chosen)))
    finally:
        prepared.close()


def built_from() -> str:
    """Return the commit that is checked out, and whether anything is not as it is there."""
    described = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    run = subprocess.run(described, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return run.stdout.strip() or "unknown"


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.stepping", description=__doc__)
    parser.add_argument("--only", default="", help="operations whose name and company contain this")
    parser.add_argument("--draw", type=int, help="this many deaths instead of all")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("UNDERPASS_SEED", "0")), help="repeat a draw")
    parser.add_argument("--part", default="1/1", help="of the operations, the first half (1/2), the second (2/2), …")
    parser.add_argument(
        "--every", action="store_true", help="at each instruction, not only before and after what others can tell of"
    )
    parser.add_argument(
        "--inflict",
        choices=INFLICTIONS,
        nargs="+",
        default=["death"],
        help="what happens there: not only death (middles.py)",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as CAVEATS has it, and what is said of it"
    )
    parser.add_argument("--into", type=Path, help="put that into this file, between the lines that mark it")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the processor to stay on")
    arguments = parser.parse_args()
    console, errors = Console(), Console(stderr=True)
    seed = arguments.seed or random.randrange(1, 2**32)
    number, parts = map(int, arguments.part.split("/"))
    scenarios = [
        (operation, company)
        for operation in OPERATIONS[number - 1 :: parts]
        for company in operation.companies()
        if arguments.only in f"{operation}, {company.value}"
    ]
    draws = None
    if arguments.draw is not None:
        print(f"UNDERPASS_SEED={seed}")  # noqa: T201
        draws = drawn(scenarios, arguments.draw, seed)
        scenarios = [scenario for scenario in scenarios if scenario in draws]
    reports: list[Report] = []
    started = time.monotonic()
    with space() as check, Progress(console=errors) as progress:
        settle(arguments.cpu)
        whole = progress.add_task("all", total=len(scenarios))
        for operation, company in scenarios:
            far = None if draws is None else draws[operation, company]
            for what in arguments.inflict:
                if what != "death" and company in operation.alive:
                    continue
                task = progress.add_task(f"{operation}, {company.value}, {what}", total=None)
                report = run(
                    (operation, company),
                    far,
                    partial(INFLICTIONS[what], check_space=check, every=arguments.every),
                    lambda done, total, task=task: progress.update(task, completed=done, total=total),
                )
                report.inflicted = what
                reports.append(report)
                progress.remove_task(task)
            progress.advance(whole)
    if arguments.markdown or arguments.into:
        page = as_page(reports, built_from(), (time.monotonic() - started) / 60)
        print(page)  # noqa: T201
        if arguments.into:
            put_into(arguments.into, page)
    else:
        console.print(as_table(reports))
    failures = [failure for report in reports for failure in report.failures]
    for failure in failures:
        print(f"FAILED {failure}")  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
