"""An awaitable object whose operations are noted: each is its task's, from the moment at which it is awaited to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from inspect import isawaitable, iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Any

from underpass.errors import EndOfStream
from underpass.lab.recorded import Recorded, RecordedLease, begun, ended

if TYPE_CHECKING:
    from underpass.lab.history import History
    from underpass.lab.models.model import Bracket

__all__ = ["RecordedFace"]


class RecordedFace(Recorded):
    """Stands for the face of an object, ``x.aio``: what it does goes into the history of the object."""

    def __init__(self, owner: Recorded, face: Any, history: History) -> None:
        super().__init__(face, history.of_tasks())
        self._owner = owner

    def __reduce__(self) -> tuple[object, ...]:
        return getattr, (self._owner, "aio")

    def _method(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._subject, name)
        if not iscoroutinefunction(operation):
            return super()._method(name)
        history = self._history

        async def note(*arguments: Any, **options: Any) -> Any:
            result = await _noted(history, name, lambda: operation(*arguments, **options), arguments, options)
            return RecordedLease(result, history) if name in history.model.leasing else result

        return note

    def _block(self, name: str) -> Callable[..., Any]:
        def begin(**options: Any) -> _Block:
            bracket = type(self._history.model).brackets[name]
            return _Block(self._history, bracket, getattr(self._subject, name)(**options), options)

        return begin

    async def __aenter__(self) -> Any:
        bracket = type(self._history.model).brackets[""]
        await _noted(self._history, bracket.begin, self._subject.__aenter__, seen=bracket.gave)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Any:
        bracket = type(self._history.model).brackets[""]
        end = bracket.end if kind is None else bracket.broken
        return await _noted(self._history, end, lambda: self._subject.__aexit__(kind, error, tb), seen=_left)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """What a queue's iterator does: get until the end."""
        while True:
            try:
                item = await self.get()
            except EndOfStream:
                return
            yield item


class _Block:
    """Stands for an asynchronous context manager: its begin and its end are operations."""

    def __init__(
        self, history: History, bracket: Bracket, block: AbstractAsyncContextManager[Any, Any], options: dict[str, Any]
    ) -> None:
        self._history, self._bracket, self._block, self._options = history, bracket, block, options

    async def __aenter__(self) -> Any:
        bracket = self._bracket
        return await _noted(
            self._history, bracket.begin, self._block.__aenter__, options=self._options, seen=bracket.gave
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Any:
        end = self._bracket.end if kind is None else self._bracket.broken
        return await _noted(self._history, end, lambda: self._block.__aexit__(kind, error, tb), seen=_left)


def _left(_swallowed: object) -> None:
    """Return the outcome of an end: whether an exception goes on is the block's business."""


async def _noted(  # noqa: PLR0913 - an operation has so many parts
    history: History,
    name: str,
    do: Callable[[], Any],
    arguments: tuple[object, ...] = (),
    options: Mapping[str, object] | None = None,
    *,
    seen: Callable[[Any], object] | None = None,
) -> Any:
    """Await it, and note its call and its end.

    One that was cancelled has done nothing, and is forgotten, where the model knows no call apart from its end; where it does, others
    may have seen the call: it stays pending, which is what may have happened or not.
    """
    operation = begun(history, name, arguments, options or {})
    try:
        result = do()
        if isawaitable(result):
            result = await result
    except asyncio.CancelledError:
        if not hasattr(history.model, f"{name}_called"):
            history.withdraw(operation)
        raise
    except Exception as error:
        ended(history, operation, error)
        raise
    history.end(operation, seen(result) if seen else history.model.seen(name, result))
    return result
