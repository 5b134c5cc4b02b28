"""The failure that an exploration found."""

from typing import final

from underpass.lab.verdict import Verdict


@final
class Failure(AssertionError):
    """A schedule broke the program: which, how, and how to repeat it.

    Attributes:
        verdict: What was wrong.
        token: The schedule, for `replay`.
        schedules: How many were run until it was found.
        seed: Of the exploration; None: it was a replay.
    """

    def __init__(self, program: str, verdict: Verdict, token: str, schedules: int, seed: int | None) -> None:
        self.verdict, self.token, self.schedules, self.seed = verdict, token, schedules, seed
        found = f"after {schedules:,} schedules (seed {seed})" if seed is not None else "again"
        details = f"\n{verdict.details}" if verdict.details else ""
        super().__init__(f"{program}: {verdict.kind}, found {found}: {verdict.summary}{details}\nreplay: {token}")
