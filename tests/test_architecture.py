"""The shape of the package: rooms import downwards only, and what each room may touch.

All of it by `ast`, so imports inside functions and under TYPE_CHECKING count. Names of modules in
strings count as imports too: that is how the lazy tables (`castore`, the commands,
policies) name them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeGuard

import pytest

from castore.cli.quick import DEFERRED

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "castore"

# Rooms on one line do not know each other; "" is castore/__init__, the library's front door.
LINES = [
    {"errors"},
    {"model"},
    {"content"},
    {"spec", "database", "remote"},
    {"store"},
    {"aio", "dask", "portal", "agents", "filesystem", ""},
    {"cli"},
]
LEVEL = {room: level for level, line in enumerate(LINES) for room in line}

# Outside libraries, and the rooms (or single modules) that may import them.
LIBRARIES = {
    "PIL": {"spec"},
    "blake3": {"model", "content"},
    "click": {"cli"},
    "dask": {"dask"},
    "distributed": {"dask"},
    "duckdb": {"store.sql"},
    "fsspec": {"filesystem"},
    "hyperscan": {"content"},
    "ijson": {"spec"},
    "jsonschema_rs": {"spec"},
    "lmdb": {"database"},
    "mcp": {"agents"},
    "msgpack": {"model"},
    "msgspec": {"spec"},
    "obstore": {"remote"},
    "pathspec": {"content"},
    "pyarrow": {"spec"},
    "platformdirs": {"cli", "store.config"},
    "pyfastcdc": {"content"},
    "starlette": {"portal"},
    "tomlkit": {"store.remotes"},
    "yaml": {"spec"},
    "zstandard": {"content"},
}
# `import castore` and the rooms that read versions must stay quick to import.
HEAVY = {
    "PIL", "asyncio", "click", "dask", "distributed", "duckdb", "hyperscan", "ijson",
    "jsonschema_rs", "msgspec", "numpy", "obstore", "pathspec", "pyarrow", "pyfastcdc",
    "tomlkit", "yaml", "zstandard",
}  # fmt: skip
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "core", "misc", "tools", "base"}
# What makes a module impure: I/O, the clock, randomness, other processes.
IMPURE = {
    "datetime", "glob", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil",
    "socket", "subprocess", "sys", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
LINES_MAX, LINES_GOAL, FUNCTION_GOAL = 500, 400, 40


class Module(NamedTuple):
    """A module of the package."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The room it is in; `castore.__main__` is one more door of the command line."""
        if self.name == "castore.__main__":
            return "cli"
        return [*self.name.split("."), ""][1]


class Import(NamedTuple):
    """One import: the module named, the line, and whether it stands inside a function."""

    target: str
    line: int
    inside: bool


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text("utf-8"), str(path)))
    return found


def imports(module: Module) -> Iterator[Import]:
    """Every import of a module, wherever it stands."""
    for node, inside in _walk(module.tree, False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, inside)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}:{node.lineno}: relative import"
            source = node.module or ""
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield Import(inner if inner in modules() else source, node.lineno, inside)
        elif _loads_by_name(node) and isinstance(node.args[0], ast.Constant):
            yield Import(str(node.args[0].value), node.lineno, inside)
        elif _names_a_module(node):
            yield Import(node.value, node.lineno, False)


def _names_a_module(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and node.value != "castore" and node.value in modules()


def _loads_by_name(node: ast.AST) -> TypeGuard[ast.Call]:
    loaders = ("importlib.import_module", "import_module", "__import__")
    return isinstance(node, ast.Call) and _dotted(node.func) in loaders


def _walk(node: ast.AST, inside: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, inside
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, inside or function)


def own_imports(module: Module) -> Iterator[Import]:
    """The imports of other modules of castore."""
    for found in imports(module):
        if found.target.split(".")[0] == "castore" and found.target != module.name:
            yield found


each_module = pytest.mark.parametrize("module", modules().values(), ids=modules().keys())


def test_the_rooms_are_all_there() -> None:
    rooms = {module.room for module in modules().values()}
    assert rooms <= set(LEVEL)
    assert {"errors", "model", "content", "spec", "database", "store", "cli", ""} <= rooms


@each_module
def test_imports_point_down(module: Module) -> None:
    for found in own_imports(module):
        where = f"{module.name}:{found.line} imports {found.target}"
        assert found.target in modules(), f"{where}, which does not exist"
        target = modules()[found.target]
        if target.room != module.room:
            assert LEVEL[target.room] < LEVEL[module.room], where


@each_module
def test_no_import_of_castore_hides(module: Module) -> None:
    for found in own_imports(module):
        assert not found.inside, f"{module.name}:{found.line}: inside a function"
    for node in ast.walk(module.tree):
        names = {getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", "")}
        assert "TYPE_CHECKING" not in names, f"{module.name}: TYPE_CHECKING"


def test_only_the_four_lazy_tables_load_modules_by_a_name_that_varies() -> None:
    assert set(DEFERRED) <= sys.stdlib_module_names
    loaders = {
        module.name
        for module in modules().values()
        for node in ast.walk(module.tree)
        if _loads_by_name(node) and not isinstance(node.args[0], ast.Constant)
    } - {"castore.cli.quick"}
    assert "castore" in loaders
    assert {modules()[name].room for name in loaders} == {"", "cli", "store"}
    assert len(loaders) == 4


def test_there_are_no_cycles() -> None:
    graph = {
        name: {found.target for found in own_imports(module)} for name, module in modules().items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for target in sorted(graph[name]):
            if target in graph:
                visit(target, (*path, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


@each_module
def test_each_library_has_its_room(module: Module) -> None:
    for found in imports(module):
        library = found.target.split(".")[0]
        if library in sys.stdlib_module_names or library == "castore":
            continue
        where = f"{module.name}:{found.line} imports {library}"
        inner = module.name.partition(".")[2]
        assert {module.room, inner} & LIBRARIES.get(library, set()), where


@pytest.mark.parametrize(
    "name",
    ["castore", "castore.model.manifest", "castore.database.reading", "castore.content.reader"],
)
def test_what_reads_versions_imports_nothing_heavy(name: str) -> None:
    assert name in modules()
    code = f"import sys, {name}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not HEAVY & set(run.stdout.split())


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@each_module
def test_only_the_command_line_prints_exits_and_reads_the_environment(module: Module) -> None:
    forbidden = {
        "print", "input", "exit", "quit", "breakpoint", "os.environ", "os.environb", "os.getenv",
        "os.putenv", "os._exit", "sys.argv", "sys.exit", "sys.stdin", "sys.stdout", "sys.stderr",
    }  # fmt: skip
    if module.room == "cli":
        return
    for node in ast.walk(module.tree):
        used = _dotted(node)
        assert used not in forbidden, f"{module.name}:{getattr(node, 'lineno', 0)}: {used}"
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "sys"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            assert not names & forbidden, f"{module.name}:{node.lineno}"


@each_module
def test_the_model_is_pure(module: Module) -> None:
    if module.room not in ("model", "errors"):
        return
    used = {found.target.split(".")[0] for found in imports(module)}
    assert not used & IMPURE
    assert "open" not in {_dotted(node) for node in ast.walk(module.tree)}


@each_module
def test_modules_are_short_and_say_what_they_hold(module: Module) -> None:
    lines = module.path.read_text("utf-8").count("\n")
    assert lines <= LINES_MAX, f"{module.name} has {lines} lines"
    if module.tree.body:
        assert ast.get_docstring(module.tree), f"{module.name} has no docstring"


def test_modules_keep_to_the_goal() -> None:
    long = {
        name: lines
        for name, module in modules().items()
        if (lines := module.path.read_text("utf-8").count("\n")) > LINES_GOAL
    }
    assert long == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{module.name}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = {name: length for name, length in lengths.items() if length > FUNCTION_GOAL}
    assert len(long) <= 0.05 * len(lengths), long


def test_no_module_is_a_drawer() -> None:
    for module in modules().values():
        assert not FORBIDDEN_NAMES & set(module.name.split(".")), module.name
