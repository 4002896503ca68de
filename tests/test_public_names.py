"""Every public name is documented and annotated, and the front door lists what it opens."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import castore

PACKAGE = Path(castore.__file__).parent
FRONT = PACKAGE / "__init__.py"
STUB = PACKAGE / "__init__.pyi"
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Name(NamedTuple):
    """A public function, method or class."""

    where: str
    node: Function | ast.ClassDef


def public_names() -> Iterator[Name]:
    """Every public function and class of a module, and every public method of such a class."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        yield from _public(ast.parse(path.read_text("utf-8")).body, module)


def _public(body: list[ast.stmt], where: str) -> Iterator[Name]:
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield Name(f"{where}.{node.name}", node)
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{where}.{node.name}")


def _is_overload(node: Function | ast.ClassDef) -> bool:
    names = {getattr(item, "id", getattr(item, "attr", "")) for item in node.decorator_list}
    return "overload" in names


def test_every_public_name_is_documented() -> None:
    bare = [
        name.where
        for name in public_names()
        if not ast.get_docstring(name.node) and not _is_overload(name.node)
    ]
    assert bare == []


def test_every_public_function_is_annotated() -> None:
    bare = []
    for name in public_names():
        if isinstance(name.node, ast.ClassDef):
            continue
        arguments = name.node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        free = [one for one in given if one.annotation is None and one.arg not in ("self", "cls")]
        if free or name.node.returns is None:
            bare.append(name.where)
    assert bare == []


def _literal(path: Path, variable: str) -> ast.expr | None:
    for node in ast.parse(path.read_text("utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
            return getattr(node, "value", None)
    return None


def lazy_table() -> dict[str, str]:
    """The table of castore/__init__: public name → module."""
    for node in ast.parse(FRONT.read_text("utf-8")).body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(value, ast.Dict):
            table = ast.literal_eval(value)
            if table and all(str(module).startswith("castore.") for module in table.values()):
                return {str(name): str(module) for name, module in table.items()}
    return {}


def stub_names() -> dict[str, str]:
    """What castore/__init__.pyi re-exports: name → module."""
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.parse(STUB.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("castore.")
        for alias in node.names
    }


def test_every_name_of_the_front_door_opens() -> None:
    assert lazy_table()
    for name, module in lazy_table().items():
        value = getattr(castore, name)
        assert value is getattr(importlib.import_module(module), name)
        assert getattr(value, "__doc__", None), name
    assert set(lazy_table()) <= set(castore.__all__)
    assert set(castore.__all__) <= set(dir(castore))
    assert not [name for name in castore.__all__ if not hasattr(castore, name)]


def test_names_are_defined_where_the_front_door_says() -> None:
    for name, module in lazy_table().items():
        value = getattr(castore, name)
        assert getattr(value, "__module__", module) == module, name


def test_the_stub_agrees_with_the_front_door() -> None:
    assert stub_names() == lazy_table()
    own = set(castore.__all__) - set(lazy_table())
    declared = {
        node.target.id
        for node in ast.parse(STUB.read_text("utf-8")).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert own <= declared
    listed = _literal(STUB, "__all__")
    if listed is not None:
        assert sorted(ast.literal_eval(listed)) == sorted(castore.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        castore.no_such_name
