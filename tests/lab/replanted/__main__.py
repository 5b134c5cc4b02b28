"""`python -m tests.lab.replanted PROGRAM SEED`: what the lab finds where the library has the fault that breaks it, and what the same
schedule does on real processes, as JSON."""

import sys

from tests.planted import load


def main(name: str, seed: int) -> int:
    """Explore; 1 if nothing is found."""
    load()
    # The library, and what is made with it, only now.
    import msgspec

    from tests.lab.replanted.programs import REPLANTED
    from tests.planted import plant
    from underpass import lab

    case = next(case for case in REPLANTED if case.program.__name__ == name)
    plant(case.fault)
    try:
        lab.explore(case.program, schedules=case.schedules, kills=case.kills, seed=seed, jobs=1, real=True)
    except lab.Failure as failure:
        sys.stdout.write(msgspec.json.encode((failure.trace, failure.real)).decode())
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
