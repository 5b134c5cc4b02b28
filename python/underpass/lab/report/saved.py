"""A failure as JSON: for editors, for continuous integration, for another day."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from underpass.errors import MismatchError
from underpass.lab.trace import VERSION, Trace

__all__ = ["as_json", "from_json"]


class _Head(msgspec.Struct):
    version: int


def as_json(trace: Trace) -> bytes:
    """Write a failure as one line of JSON; its field ``version`` says which form it has.

    Args:
        trace: What happened.

    Returns:
        UTF-8, without a newline at the end.

    Example:
        >>> from underpass.lab.trace import Trace
        >>> trace = Trace(title="visit", kind="deadlock", summary="Nobody opens.", columns=("guest",), moments=())
        >>> from_json(as_json(trace)) == trace
        True
    """
    try:
        return msgspec.json.encode(trace)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(trace)))


def _encodable(value: Any) -> Any:
    """Write halves of characters, as file names that are no UTF-8 have them, as escapes."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            return {key: _encodable(item) for key, item in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [_encodable(item) for item in cast("list[Any]", value)]
        case _:
            return value


def from_json(text: bytes | str) -> Trace:
    """Read a failure that `as_json` wrote.

    Args:
        text: Its JSON.

    Raises:
        MismatchError: It is of another version, or no failure of the lab.
    """
    try:
        version = msgspec.json.decode(text, type=_Head).version
        if version == VERSION:
            return msgspec.json.decode(text, type=Trace)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MismatchError(f"this is no failure that the lab has written: {error}", expected=VERSION) from error
    message = (
        f"this failure is written in version {version}, and read in version {VERSION}: use the Underpass that wrote it"
    )
    raise MismatchError(message, expected=VERSION, found=version)
