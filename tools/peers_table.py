"""Write the peers' tables into README.md, from a run that its COMMAND makes, which draws their plot as well."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- peers: written by tools/peers_table.py -->", "<!-- end of peers -->"
COMMAND = "underpass bench --peers --json --plot docs/explanation/peers.svg | python tools/peers_table.py"
# It has no such thing, or the bench does not ask it for one.
MISSING = "–"
UNINSTALLED = "not installed"

# Package, and its rows in the groups of round trips, of flows and of locks; its round trip's name is that of its server too.
PACKAGES = (
    ("**underpass**", "underpass call", "underpass.Queue put_many, get_many", "underpass.Mutex"),
    ("underpass, one message a call", "", "underpass.Queue put, get", "underpass.Semaphore"),
    ("`os.pipe`", "os.pipe", "os.pipe", ""),
    ("Unix socket, seqpacket", "Unix socket, seqpacket", "Unix socket, seqpacket", ""),
    ("`multiprocessing`", "", "", "multiprocessing.Lock"),
    ("pyzmq", "pyzmq REQ/REP", "pyzmq PUSH/PULL", ""),
    ("posix_ipc", "posix_ipc.MessageQueue", "posix_ipc.MessageQueue", "posix_ipc.Semaphore"),
    ("faster-fifo", "faster-fifo", "faster-fifo put, get_many", ""),
    ("iceoryx2, with events", "iceoryx2, with events", "", ""),
    ("iceoryx2, polling", "iceoryx2, polling", "", ""),
    ("RPyC", "RPyC", "", ""),
    ("gRPC over a Unix socket", "gRPC unary, Unix socket", "", ""),
)
HEADINGS = (
    "",
    "round trip",
    "×",
    "messages/s, one producer",
    "two producers",
    "contended lock",
    "CPU in 2 s idle",
    "told of a kill after",
)
OUR_CALL = "underpass call"
OUR_WAKE = "underpass.Semaphore"
WAKES = ("eventfd", "posix_ipc.Semaphore", "multiprocessing.Semaphore", "multiprocessing.Event")
ALONE, CROWDED = "underpass call, the only client", "underpass call, 999 others bound and idle"
MEMORY = "memory of one client, in bytes"

Rows = dict[tuple[str, str, str], dict[str, Any]]


def main() -> None:
    """Read one run, and replace what stands between the marks."""
    run: dict[str, Any] = json.load(sys.stdin)
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n" + "\n".join(tables(run)) + f"\n\n{END}{after}")


def tables(run: dict[str, Any]) -> list[str]:
    """Return all that stands between the marks."""
    rows: Rows = {(row["group"], row["name"], row["placement"]): row for row in run["rows"]}
    machine = run["machine"]
    load = machine["load"].split()[0]
    missed = [
        f"{verdict['claim']} ({verdict['measured'] / verdict['limit']:.3g} × by the medians, {verdict['of_limit']:.3g} × round by round)"
        for verdict in run["verdicts"]
        if verdict["met"] is False
    ]
    return [
        "```sh",
        COMMAND,
        "```",
        "",
        *packages(rows, {(row["group"], row["name"]): row["reason"] for row in run["absent"]}),
        "",
        *wakes(rows),
        "",
        crowd(rows),
        "",
        f"{machine['cpus']}; {machine['kernel']}; {machine['python']}; load {load} when it began.",
        "",
        f"Targets that this run missed, and by how much: {'; '.join(missed) or 'none'}.",
    ]


def packages(rows: Rows, absent: dict[tuple[str, str], str]) -> list[str]:
    """One row for each package."""

    def cell(group: str, name: str, placement: str = "two CPUs") -> str:
        if (group, name) in absent:
            return UNINSTALLED if UNINSTALLED in absent[group, name] else "failed"
        row = rows.get((group, name, placement))
        return MISSING if row is None else duration(row["median"])

    def rate(group: str, name: str) -> str:
        row = rows.get((group, name, "two CPUs"))
        return cell(group, name) if row is None else f"{1e3 / row['median']:.3g} M"

    def told(who: str, name: str) -> str:
        hangs = "hangs" in absent.get(("kills", name), "")
        return f"{who}: {'never' if hangs else cell('kills', name, 'unpinned')}"

    ours = rows["round trips", OUR_CALL, "two CPUs"]["median"]
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|" + "--:|" * (len(HEADINGS) - 2) + "---|"]
    for title, call, flow, lock in PACKAGES:
        trip = rows.get(("round trips", call, "two CPUs"))
        owner = "owner" if lock == "underpass.Mutex" else "holder"
        deaths = [told("server", f"{call}: the server"), told(owner, f"{lock}: its {owner}")]
        cells = (
            title,
            cell("round trips", call),
            MISSING if trip is None else f"{trip['median'] / ours:.3g}",
            rate("one producer", flow),
            rate("two producers", flow),
            cell("contention", lock),
            cell("idle peers", call, "unpinned"),
            "; ".join(death for death in deaths if not death.endswith(MISSING)) or MISSING,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def wakes(rows: Rows) -> list[str]:
    """Waking a sleeper: medians and their ratio, and the median of the rounds' ratios, which is what a verdict goes by."""
    ours = rows["wakes", OUR_WAKE, "two CPUs"]
    lines = [
        "| from a wake to the sleeper that runs | median | ours ÷ it, of the medians | ours ÷ it, round by round |"
    ]
    lines += ["|---|--:|--:|--:|", f"| **{OUR_WAKE}** | {duration(ours['median'])} | 1 | 1 |"]
    for name in WAKES:
        row = rows.get(("wakes", name, "two CPUs"))
        if row is None:
            lines.append(f"| {name} | {UNINSTALLED} | {MISSING} | {MISSING} |")
            continue
        ratio = f"{ours['median'] / row['median']:.3g}"
        pairs = zip(ours["rounds"], row["rounds"], strict=True)
        rounds = f"{statistics.median(one / other for one, other in pairs):.3g}"
        lines.append(f"| {name} | {duration(row['median'])} | {ratio} | {rounds} |")
    return lines


def crowd(rows: Rows) -> str:
    """One client among many, and what each of those takes."""
    alone, crowded = (rows["crowd", name, "two CPUs"]["median"] for name in (ALONE, CROWDED))
    memory = rows["crowd", MEMORY, "unpinned"]["median"]
    return (
        f"A call of one client takes {duration(crowded)} while 999 others are bound and idle, {duration(alone)} alone; "
        f"each client takes {memory / 1024:.3g} KiB of memory, shared and its server's together."
    )


def duration(nanoseconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


if __name__ == "__main__":
    main()
