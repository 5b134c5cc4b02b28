"""Every example in a docstring runs, those of native classes included."""

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import underpass


def examples() -> Iterator[doctest.DocTest]:
    """The docstrings with examples, each once, wherever the name that leads there is re-exported."""
    names = ["underpass", *(found.name for found in pkgutil.walk_packages(underpass.__path__, "underpass."))]
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in names:
        if name.endswith("__main__"):
            continue  # importing it would run it
        yield from (found for found in finder.find(importlib.import_module(name), name) if found.examples)


@pytest.mark.parametrize("example", [pytest.param(example, id=example.name) for example in examples()])
def test_example_runs(example: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed, _ = runner.run(example, out=report.append)
    assert not failed, "".join(report)
