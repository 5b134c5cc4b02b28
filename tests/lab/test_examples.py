"""The examples' own functions in the lab, with deaths.

What remains to tests on real processes is what the lab does not run: the start of processes, a death by the example's own
hand (`os.kill`), sockets and web servers.
"""

import importlib.util
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import World

EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEDULES = 1_000
WORKERS = 3


def imported(path: str) -> ModuleType:
    """Run an example's module, as each process that imports it does."""
    spec = importlib.util.spec_from_file_location(f"example_{Path(path).stem}", EXAMPLES / f"{path}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import an example so that what it defines can be pickled."""
    module = imported(request.param)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", names, indirect=True)


@of("jobs_that_survive")
def test_every_job_is_done_whoever_dies(example: ModuleType) -> None:
    delivered: Counter[int] = Counter()
    # The example kills itself with "b"; here the lab kills, anywhere.
    jobs_of_the_example = (b"a", b"c", b"d")

    def program(world: World) -> None:
        jobs, results = underpass.Queue(message_size=64), underpass.Queue(message_size=64)
        jobs.put_many(jobs_of_the_example)
        jobs.shutdown()
        world.process(example.work, jobs, results)
        world.process(example.work, jobs, results, mortal=False)

        def check() -> None:
            done = Counter(bytes(result)[:1] for result in results.get_many())
            assert set(done) == set(jobs_of_the_example)
            # One death can have one job done twice: between its result and the end of its lease.
            assert done.total() <= len(jobs_of_the_example) + 1
            delivered[done.total()] += 1

        world.at_end(check)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, jobs=1)
    assert set(delivered) == {3, 4}


@of("at_most_two")
def test_never_three_bake(example: ModuleType) -> None:
    def program(world: World) -> None:
        ovens = underpass.Semaphore.create(example.NAME, example.OVENS, limit=example.OVENS)
        inside = underpass.Semaphore.create(example.NAME + ".inside", 0)
        for _ in range(3):
            world.process(example.bake, 1)
        world.at_end(lambda: (ovens.value, inside.value) == (example.OVENS, 0))

    lab.explore(program, schedules=SCHEDULES, seed=1, early=False)


@of("at_most_two")
def test_an_oven_of_a_dead_baker_stays_taken(example: ModuleType) -> None:
    # A semaphore has no owner: a death costs one oven, and the others bake in the one that is left.
    free: Counter[int] = Counter()

    def program(world: World) -> None:
        ovens = underpass.Semaphore.create(example.NAME, example.OVENS, limit=example.OVENS)
        underpass.Semaphore.create(example.NAME + ".inside", 0)
        world.process(example.bake, 1)
        world.process(example.bake, 1, mortal=False)
        world.at_end(lambda: free.update([ovens.value]))

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, early=False, jobs=1)
    assert set(free) == {1, 2}


@of("queue_between_processes")
def test_a_consumer_gets_all_or_is_told(example: ModuleType) -> None:
    ends: Counter[str] = Counter()

    def program(world: World) -> None:
        queue = underpass.Queue(capacity=2, message_size=example.CHUNK)

        def consume() -> None:
            count = 0
            try:
                for message in queue:
                    assert message == bytes([count]) * example.CHUNK
                    count += 1
            except underpass.PeerDiedError:
                ends["told"] += 1
            else:
                assert count == 3
                ends["all"] += 1

        world.process(example.produce, queue, 3)
        # It sleeps for ever where the producer dies before it was one: nobody has promised anything then.
        world.process(consume, mortal=False, servant=True)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, jobs=1)
    assert set(ends) == {"told", "all"}


@of("typed_service")
def test_the_ledger_answers_its_client(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def program(world: World) -> None:
        world.process(underpass.serve, example.Bank(), at="example/ledger", servant=True)
        world.process(example.client)

    lab.explore(program, schedules=SCHEDULES // 4, seed=1, early=False, jobs=1)
    printed = capsys.readouterr().out
    told = "{'ada': 70, 'ben': 30}\nValueError: ben has only 30\n"
    # Some schedules are followed again.
    assert printed.count(told) == printed.count("{'ada': 70") >= SCHEDULES // 4


@of("typed_service")
def test_a_client_is_told_that_the_bank_died(example: ModuleType) -> None:
    ends: Counter[str] = Counter()

    def program(world: World) -> None:
        def client() -> None:
            try:
                example.client()
            except underpass.UnderpassError as error:
                ends[type(error).__name__] += 1
            else:
                ends["done"] += 1

        world.process(underpass.serve, example.Bank(), at="example/ledger", servant=True)
        world.process(client, mortal=False)

    lab.explore(program, schedules=SCHEDULES // 4, kills=1, seed=1, early=False, jobs=1)
    assert set(ends) == {"done", "NotFoundError", "PeerDiedError"}


# ── web workers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Disk:
    """A file of the lab: others go on, and deaths fall, between any two changes of it."""

    world: World
    files: dict[str, str]
    name: str

    def exists(self) -> bool:
        """Look."""
        return self.name in self.files

    def read_text(self) -> str:
        """Read at one instant."""
        self.world.step()
        return self.files[self.name]

    def write_text(self, text: str) -> None:
        """Write in two parts."""
        self.files[self.name] = text[: len(text) // 2]
        self.world.step()
        self.files[self.name] = text
        self.world.step()

    def replace(self, target: "Disk") -> None:
        """Take its place, at one instant."""
        self.files[target.name] = self.files.pop(self.name)
        self.world.step()

    def unlink(self, *, missing_ok: bool) -> None:
        """Remove it."""
        assert missing_ok
        self.files.pop(self.name, None)


def test_a_killed_web_worker_leaves_a_whole_file() -> None:
    """The application of the web workers; the web server around it is not the lab's."""
    counted: Counter[int] = Counter()

    def program(world: World) -> None:
        files: dict[str, str] = {}
        answers: list[bytes] = []
        status: list[str] = []

        def start_response(code: str, _headers: object) -> None:
            status.append(code)

        def worker() -> None:
            module: Any = imported("web_workers/app")
            module.PAGES, module.SCRATCH = Disk(world, files, "pages"), Disk(world, files, "new")
            (answer,) = module.application({"PATH_INFO": "/"}, start_response)
            answers.append(answer)

        def check() -> None:
            assert status == ["200 OK"] * len(answers)
            assert "new" not in files or len(answers) < WORKERS
            pages = json.loads(files.get("pages", "{}")).get("/", 0)
            # A worker may have died after its visit was counted, and before it was answered.
            assert len(answers) <= pages <= WORKERS
            assert pages <= underpass.AtomicInt.open("web/visits").load() <= WORKERS
            counted[pages - len(answers)] += 1

        for number in range(WORKERS):
            world.process(worker, name=f"worker {number}")
        world.at_end(check)

    lab.explore(program, schedules=SCHEDULES // 2, kills=1, seed=1, early=False, jobs=1)
    assert set(counted) == {0, 1}
