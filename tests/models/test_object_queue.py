"""ObjectQueue against what was put: any object comes as it was, wherever its bytes lie."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from underpass import ObjectQueue
from underpass._objects.coding import coder


def turned(array: Any) -> Any:
    """In Fortran's order, if it has two dimensions or more."""
    return array.T


SCALARS = some.one_of(some.none(), some.booleans(), some.integers(), some.floats(allow_nan=False), some.text())
BYTES = some.one_of(some.binary(max_size=300), some.binary(max_size=300).map(bytearray))
ARRAYS: some.SearchStrategy[Any] = some.one_of(
    [
        arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6))
        for dtype in ("u1", "<i4", ">f4", "c8", "S3", "?")
    ]
)
SHAPED = some.one_of(ARRAYS, ARRAYS.map(turned))
OBJECTS: some.SearchStrategy[Any] = some.recursive(
    some.one_of(SCALARS, BYTES, SHAPED),
    lambda inner: some.one_of(
        some.lists(inner, max_size=4),
        some.dictionaries(some.text(max_size=5), inner, max_size=4),
        some.tuples(inner, inner),
    ),
    max_leaves=12,
)


def is_same(one: Any, other: Any) -> bool:
    """Whether two are alike in types and values, arrays bit by bit."""
    kind = cast("type[Any]", type(one))
    if kind is not type(other):
        return False
    if kind is np.ndarray:
        layout = (one.dtype, one.shape, one.flags.f_contiguous) == (other.dtype, other.shape, other.flags.f_contiguous)
        return layout and one.tobytes() == other.tobytes()
    if kind is dict:
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if kind in {list, tuple}:
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


@settings(deadline=None, max_examples=60)
@given(objects=some.lists(OBJECTS, min_size=1, max_size=4), inline=some.sampled_from((25, 100, 10_000)))
def test_objects_come_as_they_were(objects: list[Any], inline: int) -> None:
    queue = ObjectQueue[Any](capacity=4, inline_size=inline, blocks=4, block_size=1 << 16)
    queue.put_many(objects)
    assert all(is_same(queue.peek(index), obj) for index, obj in enumerate(objects))
    with queue.take() as lease:
        assert is_same(lease.value, objects[0])
    got = queue.get_many() if objects[1:] else []
    assert len(got) == len(objects) - 1
    assert all(map(is_same, got, objects[1:]))
    del got, lease
    assert (queue.depth, queue.pool.free) == (0, 4)
    queue.close()


@settings(deadline=None, max_examples=200)
@given(obj=OBJECTS, cut=some.integers(0, 2000))
def test_a_message_that_was_cut_is_an_error_or_whole(obj: Any, cut: int) -> None:
    pickles = coder(None)
    message = b"".join(pickles.write(obj))
    if cut >= len(message):
        assert is_same(pickles.read(memoryview(bytearray(message))), obj)
        return
    # Whatever unpickling raises, and no crash.
    with pytest.raises(Exception):  # noqa: B017, PT011
        pickles.read(memoryview(bytearray(message[:cut])))
