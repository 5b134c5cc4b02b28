"""What two sides mean by one interface, and where they differ: the text of MismatchError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from underpass.errors import MismatchError
from underpass.interfaces import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from underpass.interfaces.schema import Schema

__all__ = ["mismatch"]

# How much of two long types is shown around the place where they part.
_BEFORE = 60
_AFTER = 100


def mismatch(to: str, ours: Schema, theirs: wire.Schemas | None) -> MismatchError:
    """Say what a server offers instead of the schema that it was greeted with, method by method."""
    expected = f"{ours.interface} (schema {ours.digest[:8]})"
    if theirs is None:
        found = "something else than typed calls"
    elif theirs.version != wire.VERSION:
        found = f"version {theirs.version} of typed calls (here: {wire.VERSION})"
    else:
        found = " and ".join(f"{offer.interface} (schema {offer.digest[:8]})" for offer in theirs.offers) or "others"
    lines = [f"{to!r} serves {found}; this client calls {expected}"]
    for offer in theirs.offers if theirs is not None else ():
        if offer.interface == ours.interface:
            lines += _differences(ours, offer)
    lines.append("Restart the older side.")
    return MismatchError("\n".join(lines), expected=expected, found=found)


def _differences(ours: Schema, offer: wire.Offer) -> Iterator[str]:
    here, there = _by_name(ours.texts(), ours.shapes()), _by_name(offer.methods, offer.shapes)
    for name in sorted(here.keys() | there.keys()):
        match here.get(name), there.get(name):
            case (text, _), None:
                yield f"  only here: {text}"
            case None, (text, _):
                yield f"  only there: {text}"
            case (text, shape), (their_text, their_shape) if text != their_text:
                yield f"  here:  {text}"
                yield f"  there: {their_text}"
            case (text, shape), (_, their_shape) if shape != their_shape:
                yield f"  {text}: the types that it names differ"
                start = max(0, _parting(shape, their_shape) - _BEFORE)
                yield f"    here:  {_cut(shape, start)}"
                yield f"    there: {_cut(their_shape, start)}"
            case _:
                pass


def _by_name(texts: tuple[str, ...], shapes: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    # What a server says of itself may have any form; where it has none, there is less to show.
    return {
        text.removeprefix("@oneway ").partition("(")[0]: (text, shape)
        for text, shape in zip(texts, shapes, strict=False)
    }


def _parting(here: str, there: str) -> int:
    for index, (one, other) in enumerate(zip(here, there, strict=False)):
        if one != other:
            return index
    return min(len(here), len(there))


def _cut(shape: str, start: int) -> str:
    end = start + _BEFORE + _AFTER
    return f"{'…' if start else ''}{shape[start:end]}{'…' if end < len(shape) else ''}"
