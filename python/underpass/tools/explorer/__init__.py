"""`underpass lab run`: explore a program in a file."""

from underpass.tools.explorer.command import Choices, run

__all__ = ["Choices", "run"]
