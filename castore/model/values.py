"""Values: frozen classes with slots, as `@dataclass(frozen=True, slots=True)` makes them.

`dataclasses` compiles six methods for each class, and makes it twice: 0.6 ms, at every start of the
program, where these take a seventh. They are compared, hashed, shown, pickled and matched in the
same way, and `dataclasses.replace`, `fields` and `asdict` take them.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast, dataclass_transform

Class = TypeVar("Class")
Made = TypeVar("Made")


class _Factory(NamedTuple):
    make: Callable[[], Any]


def made(*, default_factory: Callable[[], Made]) -> Made:
    """The default of a field that is made anew for each value."""
    return cast(Made, _Factory(default_factory))


@dataclass_transform(frozen_default=True, field_specifiers=(made,))
def frozen(cls: type[Class]) -> type[Class]:
    """Make a class of annotated names a value; without bases, `__post_init__` or ClassVar.

    What is assigned later raises AttributeError. Two values are equal if they are of one class and
    their fields are. Raises TypeError for a field without default behind one that has it.
    """
    content = dict(cls.__dict__)
    types: dict[str, Any] = content.get("__annotations__", {})
    names = tuple(types)
    defaults = {name: content.pop(name) for name in names if name in content}
    if tuple(defaults) != names[len(names) - len(defaults) :]:
        raise TypeError(f"{cls.__name__}: fields without default stand behind fields with one")
    for name in ("__dict__", "__weakref__"):
        content.pop(name, None)
    # What the class defines itself stands.
    body = {"__repr__": _shown, **_compared(names), **content}
    body.update(
        __slots__=names,
        __match_args__=names,
        __qualname__=cls.__qualname__,
        __dataclass_fields__=_Fields(types, defaults),
        __setattr__=_refuse,
        __delattr__=_refuse,
    )
    slotted: Any = type(cls.__name__, cls.__bases__, body)
    slotted.__init__ = _beginning(slotted, types, defaults)
    return cast(type[Class], slotted)


def _beginning(
    cls: type[object], types: dict[str, Any], defaults: dict[str, Any]
) -> Callable[..., None]:
    """`__init__`, which fills the slots by their descriptors."""
    lines = [f"def __init__(self, {', '.join(types)}):"]
    scope: dict[str, Any] = {}
    for name in types:
        scope[f"_set_{name}"] = cls.__dict__[name].__set__
        given = name
        if isinstance(defaults.get(name), _Factory):
            scope["_Factory"] = _Factory
            given = f"{name}.make() if {name}.__class__ is _Factory else {name}"
        lines.append(f" _set_{name}(self, {given})")
    exec("\n".join(lines), scope)  # noqa: S102 – names of fields, nothing from outside
    begin = scope["__init__"]
    begin.__defaults__ = tuple(defaults.values())
    begin.__annotations__ = {**types, "return": "None"}
    begin.__qualname__ = f"{cls.__qualname__}.__init__"
    begin.__module__ = cls.__module__
    return cast(Callable[..., None], begin)


def _compared(names: tuple[str, ...]) -> dict[str, Any]:
    """The methods that look at all fields at once."""
    read: Callable[[Any], Any] = attrgetter(*names)
    fields: Callable[[Any], tuple[Any, ...]] = read if len(names) > 1 else lambda one: (read(one),)

    def equal(self: object, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return fields(self) == fields(other)

    def hashed(self: object) -> int:
        return hash(fields(self))

    def reduced(self: object) -> tuple[Any, ...]:
        return self.__class__, fields(self)

    return {"__eq__": equal, "__hash__": hashed, "__reduce__": reduced}


def _shown(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{self.__class__.__qualname__}({fields})"


def _refuse(self: object, name: str, *_: object) -> None:
    raise AttributeError(f"{self.__class__.__name__} is a value: {name!r} cannot be changed")


class _Fields:
    """The fields as `dataclasses` knows them, made when it asks: few programs ever do."""

    def __init__(self, types: dict[str, Any], defaults: dict[str, Any]) -> None:
        self._types = types
        self._defaults = defaults

    def __get__(self, instance: object, owner: type[object]) -> dict[str, Any]:
        import dataclasses

        rows = []
        for name, type in self._types.items():
            default = self._defaults.get(name, dataclasses.MISSING)
            if isinstance(default, _Factory):
                rows.append((name, type, dataclasses.field(default_factory=default.make)))
            else:
                rows.append((name, type, dataclasses.field(default=default)))
        alike: Any = dataclasses.make_dataclass(owner.__name__, rows)
        fields = cast(dict[str, Any], alike.__dataclass_fields__)
        # In the place of this descriptor: making them takes longer than all that asks for them.
        owner.__dataclass_fields__ = fields  # type: ignore[attr-defined]
        return fields
