"""The programs in the documentation run and print what they say; the reference has every module, name and option."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main

import underpass
from underpass.tools.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CAVEATS.md", *DOCS.rglob("*.md")])
ARROW = "# -> "

# What a block may call itself. Python is run; the others say by their names that they are not.
LANGUAGES = {"python", "text", "sh", "c", "rust", "{toctree}", "{literalinclude}", "{eval-rst}", "{image}", "{include}"}


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page: what each calls itself, and its lines."""
    for _, info, body in re.findall(r"^(`{3,})(.*?)\n(.*?)^\1$", page.read_text(), flags=re.DOTALL | re.MULTILINE):
        yield info.split()[0] if info.split() else "", body


def printed(page: Path) -> Iterator[str]:
    """What the page says that its programs print: after an arrow, or in a block of its own, which ``tools/page_output.py`` writes."""
    for info, body in re.findall(
        r"^```(python|text output)\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE
    ):
        lines = body.splitlines()
        if info == "python":
            yield from (line.strip().removeprefix(ARROW) for line in lines if line.strip().startswith(ARROW))
        else:
            yield from lines


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_block_says_what_it_is(page: Path) -> None:
    assert {language for language, _ in blocks(page)} <= LANGUAGES
    assert page.read_text().count("\n```") + page.read_text().startswith("```") == 2 * len(list(blocks(page)))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "python" in dict(blocks(page)) and page.parent != ROOT], ids=name
)
def test_page_is_a_program(page: Path, tmp_path: Path) -> None:
    program = "\n".join(body for language, body in blocks(page) if language == "python")
    path = tmp_path / f"{page.stem}.py"
    path.write_text(program)
    run = subprocess.run([sys.executable, "-W", "error", path], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == list(printed(page))


def test_reference_has_every_module() -> None:
    """And nothing that is not there: a page for each, with everything it exports."""
    python = Path(underpass.__path__[0])
    modules = {path.stem for path in python.glob("[!_]*.py")} | {
        path.parent.name for path in python.glob("[!_]*/__init__.py") if path.parent.name != "tools"
    }
    pages = {
        module for page in DOCS.glob("reference/*.md") for module in re.findall(r"automodule:: (\S+)", page.read_text())
    }
    assert pages == {f"underpass.{module}" for module in modules}
    documented = {name for module in pages for name in importlib.import_module(module).__all__}
    assert set(underpass.__all__) <= documented


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """All subcommands, those of groups by both names: ``lab run``."""
    found: dict[str, Any] = {}
    members = cast("dict[str, Any]", vars(group)["commands"])
    for name, command in members.items():
        found |= commands(command, f"{prefix}{name} ") if "commands" in vars(command) else {prefix + name: command}
    return found


COMMANDS = commands(typer.main.get_command(app))


def sections() -> dict[str, str]:
    """The page's section of each subcommand."""
    _, *parts = re.split(r"^## `underpass (.*?)`$", (DOCS / "reference" / "command.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_page_of_the_command_has_every_subcommand() -> None:
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("subcommand", COMMANDS)
def test_page_says_of_an_option_what_help_says(subcommand: str) -> None:
    command = COMMANDS[subcommand]
    section = sections()[subcommand]
    assert command.help in section
    expected: dict[str, str] = {}
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        names = [*parameter.opts, *parameter.secondary_opts]
        if parameter.param_type_name == "argument":
            names = [parameter.name.upper()]
        expected["/".join(names)] = parameter.help
    assert dict(re.findall(r"^\| `(.*?)` \| (.*?) \|$", section, flags=re.MULTILINE)) == expected
