"""A failing schedule made smaller: fewer deaths, faults and switches, fewer steps; and the nearest one that passes.

Delta debugging (Zeller) on the choices. A candidate is followed as far as it goes; what it then really did counts, if it fails
in the same way and is smaller.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

# Runs that a schedule is worth.
MOST = 600


@final
@dataclass(frozen=True)
class Outcome:
    """How one candidate went."""

    token: str
    kind: str | None
    """Of its failure; None: it passed."""


Try = Callable[[str], Outcome]
"""Follows a token loosely."""


def shrink(token: str, kind: str, attempt: Try) -> str:
    """Return the smallest schedule found that fails in the same way."""
    best, left = token, MOST
    improved = True
    while improved and left > 0:
        improved = False
        for candidate in _smaller(_words(best)):
            left -= 1
            outcome = attempt(".".join(candidate))
            if outcome.kind == kind and _size(outcome.token) < _size(best):
                best, improved = outcome.token, True
                break
            if left == 0:
                break
    return best


def nearest(steps: int, others: Callable[[int], list[str]], token: str, attempt: Try) -> tuple[int, str] | None:
    """Return the last step, and what chosen there instead leads to a schedule that passes; None: none was found."""
    words = list(_steps(_words(token)))
    left = MOST
    for step in reversed(range(min(steps, len(words)))):
        for other in others(step):
            if not other[0].isdigit() or left == 0:
                continue
            left -= 1
            outcome = attempt(".".join([*words[:step], other, *words[step:]]))
            if outcome.kind is None:
                return step, other
    return None


def _words(token: str) -> list[str]:
    words: list[str] = []
    for part in filter(None, token.split(".")):
        once, _, times = part.partition("r")
        words += once.split("-") * int(times or 1)
    return words


def _steps(words: list[str]) -> Iterator[str]:
    for word in words:
        what, _, times = word.partition("x")
        yield from [what] * int(times or 1)


def _size(token: str) -> tuple[int, int, int]:
    """Deaths and faults count most, then switches, then steps."""
    words = _words(token)
    faults = sum(word[0] in "KSCWTPR" and word != "P0" for word in words)
    return faults, len(words), sum(1 for _ in _steps(words))


def _smaller(words: list[str]) -> Iterator[list[str]]:
    """Candidates: without one part, and with two turns of somebody made one."""
    for at, word in enumerate(words):
        yield [*words[:at], *words[at + 1 :]]
        if not word[0].isdigit():
            continue
        who = word.partition("x")[0]
        later = next((i for i in range(at + 1, len(words)) if words[i].partition("x")[0] == who), None)
        if later is not None and later > at + 1:
            between = words[at + 1 : later]
            yield [*words[: at + 1], words[later], *between, *words[later + 1 :]]
            yield [*words[:at], *between, word, *words[later:]]
