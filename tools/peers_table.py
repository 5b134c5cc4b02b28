"""Write the peers' table into README.md: underpass bench --peers --json | python tools/peers_table.py."""

import json
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- peers: underpass bench --peers --json | python tools/peers_table.py -->", "<!-- end of peers -->"
MISSING = "–"

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
HEADINGS = ("", "round trip", "×", "messages/s", "contended lock", "CPU in 2 s idle", "told of a kill after")


def main() -> None:
    """Read one run, and replace what stands between the marks."""
    run: dict[str, Any] = json.load(sys.stdin)
    medians = {(row["group"], row["name"], row["placement"]): row["median"] for row in run["rows"]}
    hangs = {row["name"] for row in run["absent"] if row["group"] == "kills" and "hangs" in row["reason"]}

    def time(group: str, name: str, placement: str = "two CPUs") -> str:
        median = medians.get((group, name, placement))
        return MISSING if median is None else duration(median)

    def told(who: str, name: str) -> str:
        return f"{who}: never" if name in hangs else f"{who}: {time('kills', name, 'unpinned')}"

    ours = medians["round trips", "underpass call", "two CPUs"]
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|" + "--:|" * (len(HEADINGS) - 2) + "---|"]
    for title, call, flow, lock in PACKAGES:
        trip = medians.get(("round trips", call, "two CPUs"))
        sent = medians.get(("one producer", flow, "two CPUs"))
        owner = "owner" if lock == "underpass.Mutex" else "holder"
        deaths = [told("server", f"{call}: the server"), told(owner, f"{lock}: its {owner}")]
        cells = (
            title,
            time("round trips", call),
            MISSING if trip is None else f"{trip / ours:.3g}",
            MISSING if sent is None else f"{1e3 / sent:.3g} M",
            time("contention", lock),
            time("idle peers", call, "unpinned"),
            "; ".join(death for death in deaths if not death.endswith(MISSING)) or MISSING,
        )
        lines.append(f"| {' | '.join(cells)} |")
    machine = run["machine"]
    lines += [
        "",
        f"{machine['cpus']}; {machine['kernel']}; {machine['python']}; load {machine['load'].split()[0]} when it began.",
    ]
    missed = [
        f"{verdict['claim']} ({verdict['of_limit']:.3g} ×)" for verdict in run["verdicts"] if verdict["met"] is False
    ]
    lines += ["", f"Targets that this run missed, and by how much: {'; '.join(missed) or 'none'}."]
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")


def duration(nanoseconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


if __name__ == "__main__":
    main()
