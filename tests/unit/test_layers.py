"""Arrows point one way: shm ← core ← py ← underpass ← everything above. This test is the map."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "underpass"

# What users import from: the names at the top, and the topical modules that hold them all.
TOPICAL = frozenset({"sync", "data", "memory", "ports", "interrupts", "waiting"})
PUBLIC = TOPICAL | {"", "errors"}
# What is built on that, and what each may use of the others beside it.
ABOVE: dict[str, frozenset[str]] = {
    "aio": frozenset(),
    "_objects": frozenset({"aio", "interfaces"}),
    "interfaces": frozenset({"aio"}),
    "services": frozenset({"aio", "interfaces"}),
    "compat": frozenset({"aio"}),
    "dialects": frozenset({"aio"}),
    "lab": frozenset({"aio"}),
    "link": frozenset({"aio", "interfaces"}),
    "testing": frozenset({"aio", "lab"}),
    "tools": frozenset({"aio", "interfaces", "services", "compat", "dialects", "lab", "link", "testing"}),
}
# What the native module has for event loops, and for a public class in Python, and no user: doors, for those who may use them.
DOORS: dict[str, frozenset[str]] = {"_loops": frozenset({"aio"}), "_objects": frozenset({"data", "aio"})}
# Who may import the native module: topical modules and doors. The lab's explorer drives the lab kernel, which has no public name.
NATIVE = TOPICAL | DOORS.keys() | {"lab"}
# The names at the top include typed calls, which are built on the others.
TOP_MAY_USE = frozenset({"interfaces"})


def part(module: str) -> str:
    """The second component of a dotted name: ``underpass.tools.cli`` belongs to ``tools``, ``underpass`` to ``""``."""
    return module.split(".")[1] if "." in module else ""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        names = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(names[:-1] if names[-1] == "__init__" else names), path


def imports(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Every module of underpass that ``source`` imports anywhere in it, functions and TYPE_CHECKING blocks included."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # ``from underpass import tools`` reaches a module, ``from underpass import Queue`` a name.
            names = [
                f"{origin}.{a.name}" if origin == "underpass" and is_module(a.name) else origin for a in node.names
            ]
        else:
            continue
        yield from (name for name in names if name == "underpass" or name.startswith("underpass."))


def is_module(name: str) -> bool:
    return name == "_core" or (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()


def trespass(importer: str, imported: str) -> str | None:
    """Say what is wrong with this import, if anything is."""
    here, there = part(importer), part(imported)
    if there == here:
        return None
    if there == "_core":
        return None if here in NATIVE else "only topical modules import the native module"
    if there in DOORS:
        return None if here in DOORS[there] else f"{there} is the door of {', '.join(DOORS[there])}"
    if here == "errors":
        return "errors stand alone: the native module imports them"
    if here in TOPICAL:
        return None if there in PUBLIC - {""} else "a topical module imports topical modules and errors"
    if here == "":
        return None if there in PUBLIC | TOP_MAY_USE else "the top holds public names and nothing else"
    if here not in ABOVE:
        return f"{here!r} has no place on the map"
    if there in PUBLIC or there in ABOVE[here]:
        return None
    return f"{here} uses the public API, not {there}"


def test_imports_point_one_way() -> None:
    found = [
        f"{module} imports {name}: {wrong}"
        for module, path in modules()
        for name in imports(path.read_text(), module, is_package=path.name == "__init__.py")
        if (wrong := trespass(module, name))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("underpass.interfaces.proxy", "from underpass._core import Port"),
        ("underpass.interfaces.proxy", "from underpass import _core"),
        ("underpass.interfaces.proxy", "from .. import _core"),
        ("underpass.interfaces.proxy", "def f():\n    import underpass.tools.demo"),
        ("underpass.interfaces.proxy", "from underpass import _loops"),
        ("underpass.sync", "from underpass._loops import nonce"),
        ("underpass._loops", "from underpass.aio import Mutex"),
        ("underpass.sync", "from underpass import Queue"),
        ("underpass.sync", "from .tools import cli"),
        ("underpass.errors", "from underpass.sync import Mutex"),
        ("underpass.helpers", "import underpass"),
        ("underpass.lab.model", "from underpass._objects.queue import ObjectQueue"),
        ("underpass._objects.queue", "from underpass.lab import Lab"),
    ],
)
def test_a_planted_trespass_is_found(module: str, source: str) -> None:
    assert any(trespass(module, name) for name in imports(source, module, is_package=False))


def test_import_pulls_in_nothing_beyond_the_standard_library() -> None:
    program = (
        "import sys; before = set(sys.modules); import underpass, json; print(json.dumps([*set(sys.modules) - before]))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    tops = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert tops - sys.stdlib_module_names == {"underpass"}


# ── crates ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def manifest(crate: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())


def dependencies(crate: str) -> set[str]:
    tables = [manifest(crate), *manifest(crate).get("target", {}).values()]
    return {name for table in tables for kind in ("dependencies", "build-dependencies") for name in table.get(kind, {})}


def test_each_crate_knows_only_those_below() -> None:
    assert not {name for name in dependencies("underpass-shm") if name.startswith("underpass")}
    assert {name for name in dependencies("underpass-core") if name.startswith("underpass")} <= {"underpass-shm"}
    assert "underpass-core" in dependencies("underpass-py")


@pytest.mark.parametrize("crate", ["underpass-shm", "underpass-core"])
def test_python_is_known_to_the_bindings_alone(crate: str) -> None:
    assert not {name for name in dependencies(crate) if name.startswith(("pyo3", "numpy"))}


def test_core_forbids_unsafe() -> None:
    assert "#![forbid(unsafe_code)]" in (ROOT / "crates/underpass-core/src/lib.rs").read_text()


def test_core_takes_its_atomics_from_where_loom_replaces_them() -> None:
    standard = re.compile(r"\b(std|core)::sync::atomic::(Atomic|fence|\{[^}]*(Atomic|fence))")
    sources = (ROOT / "crates/underpass-core/src").rglob("*.rs")
    assert not [str(path.relative_to(ROOT)) for path in sources if standard.search(path.read_text())]


def test_files_stay_readable() -> None:
    """A file of more than 600 lines holds more than one concept."""
    sources = [*ROOT.glob("crates/**/*.rs"), *ROOT.glob("python/**/*.py"), *ROOT.glob("tests/**/*.py")]
    long = {
        str(path.relative_to(ROOT)): count for path in sources if (count := len(path.read_text().splitlines())) > 600
    }
    assert not long
