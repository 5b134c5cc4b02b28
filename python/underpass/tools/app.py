"""The subcommands; each imports what it runs when it is run, so that ``underpass --help`` is quick."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app: typer.Typer = typer.Typer(
    name="underpass",
    help="IPC between the processes of one machine, at the speed of shared memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(  # noqa: PLR0913  a command has its options
    path: Annotated[
        Path | None, typer.Argument(help="What to index: a directory or a file. By default Python's standard library.")
    ] = None,
    *,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes. By default one per CPU, at least two.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Chooses who dies, and when. By default another each time.")] = None,
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="Kill one worker while it holds work.")] = True,
    compare: Annotated[bool, typer.Option("--compare", help="Run the same job on multiprocessing as well.")] = False,
    once: Annotated[bool, typer.Option("--once", help="One pass, instead of as many as take five seconds.")] = False,
    alter: Annotated[
        bool, typer.Option("--alter", hidden=True, help="Falsify one posting: the proof must fail.")
    ] = False,
) -> None:
    """Index text with several processes, kill one of them, and prove that nothing was lost and nothing counted twice."""
    from underpass.tools.demo.command import Choices, run

    raise typer.Exit(run(Choices(path, workers, seed, kill=kill, compare=compare, once=once, alter=alter)))


class Suite(StrEnum):
    """What else there is to measure."""

    LAB = "lab"


@app.command()
def bench(  # noqa: PLR0913  a command has its options
    what: Annotated[Suite | None, typer.Argument(help="lab: what the lab takes to find bugs.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A second or two: too short to judge by.")] = False,
    only: Annotated[str | None, typer.Option(help="Names of groups, separated by commas.")] = None,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Against other packages instead; they are installed in a place of their own."),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="With --peers: draw the rows into this SVG.")] = None,
) -> None:
    """Measure against C and the standard library, in one run, and compare with the targets."""
    from underpass.tools.bench import run

    if plot is not None and (not peers or what is not None):
        raise typer.BadParameter("there is a plot with --peers only, and none of the lab", param_hint="--plot")
    raise typer.Exit(run(json=json, quick=quick, only=only, peers=peers, plot=plot, lab=what is Suite.LAB))


_SPACE = typer.Option(help="The directory. By default UNDERPASS_DIR, or /dev/shm/underpass-<uid>.")
_JSON = typer.Option("--json", help="Print one JSON document.")


@app.command("ls")
def list_objects(*, space: Annotated[Path | None, _SPACE] = None, json: Annotated[bool, _JSON] = False) -> None:
    """List the objects of a space: kinds, sizes, creators, who has them mapped, states."""
    from underpass.tools.spaces import list_objects

    raise typer.Exit(list_objects(space, as_json=json))


@app.command()
def waits(*, space: Annotated[Path | None, _SPACE] = None, json: Annotated[bool, _JSON] = False) -> None:
    """Tell who waits for whom, on what, since when, and who holds it. Exits with 1 if some wait in a circle."""
    from underpass.tools.spaces import show_waits

    raise typer.Exit(show_waits(space, as_json=json))


@app.command()
def sweep(*, space: Annotated[Path | None, _SPACE] = None, json: Annotated[bool, _JSON] = False) -> None:
    """Remove what the dead left in a space, and tell what and why."""
    from underpass.tools.spaces import sweep

    raise typer.Exit(sweep(space, as_json=json))


_lab = typer.Typer(
    name="lab", help="Explore every interleaving, time-out and death of a program.", no_args_is_help=True
)
app.add_typer(_lab)


@_lab.command("run")
def explore(  # noqa: PLR0913  a command has its options
    target: Annotated[
        str, typer.Argument(metavar="FILE::FUNCTION", help="A program, or a test made with @lab.explored.")
    ],
    *,
    schedules: Annotated[int | None, typer.Option(min=1, help="The most schedules to run. By default 10000.")] = None,
    kills: Annotated[int | None, typer.Option(min=0, help="The most deaths in one schedule. By default 0.")] = None,
    faults: Annotated[
        int | None, typer.Option(min=0, help="The most stops and wakes without cause in one schedule. By default 0.")
    ] = None,
    early: Annotated[
        bool | None,
        typer.Option(
            "--early/--late", help="Time-outs fire while somebody can go on, or only when nobody can, in their order."
        ),
    ] = None,
    preemptions: Annotated[
        int | None,
        typer.Option(min=0, help="The most times somebody has to wait who could go on. By default any number."),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Who chooses. By default several in turns, then dpor too.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Where the dice start. By default elsewhere each time.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How long a schedule is before all get turns in order. By default 2000.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="How many processes search. By default one per CPU.")] = None,
    lines: Annotated[
        bool | None, typer.Option("--lines", help="Lines of the program's own code are scheduling points too.")
    ] = None,
    replay: Annotated[str | None, typer.Option(metavar="TOKEN", help="Run the one schedule of a failure.")] = None,
    step: Annotated[
        bool, typer.Option("--step", help="Go through the schedule of a failure, or of --replay's token, in pdb.")
    ] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Force the schedule that fails, or that of --replay, on real processes too.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a failure as a page to step through.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write a failure as JSON.")] = None,
) -> None:
    """Explore a program, and print what was covered, or the schedule that breaks it. Exits with 1 if one does."""
    from underpass.tools.explorer import Choices, run

    choices = Choices(
        schedules=schedules, kills=kills, faults=faults, early=early, preemptions=preemptions, strategy=strategy, seed=seed,
        steps=steps, jobs=jobs, lines=lines, replay=replay, step=step, real=real, html=html, json=json,
    )  # fmt: skip
    raise typer.Exit(run(target, choices))
