"""Values behave as frozen dataclasses with slots do, which they stand for."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.model.values import frozen, made


@frozen
class Point:
    """A value."""

    x: int
    name: str = "origin"
    tags: Mapping[str, int] = made(default_factory=dict)
    rest: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """A member beside the fields."""
        return 2 * self.x


@dataclasses.dataclass(frozen=True, slots=True)
class Twin:
    """The same as a dataclass."""

    x: int
    name: str = "origin"
    tags: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rest: tuple[int, ...] = ()


@frozen
class One:
    """A value of one field."""

    only: tuple[int, ...] = (1, 2)


FIELDS = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["origin", "a"]),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 1), max_size=1),
    st.sampled_from([(), (1,)]),
)


@given(FIELDS, FIELDS)
def test_they_compare_and_show_as_dataclasses_do(left: tuple, right: tuple) -> None:
    assert (Point(*left) == Point(*right)) is (Twin(*left) == Twin(*right)) is (left == right)
    assert repr(Point(*left)) == repr(Twin(*left)).replace("Twin", "Point")
    assert dataclasses.asdict(Point(*left)) == dataclasses.asdict(Twin(*left))
    changed = dataclasses.replace(Point(*left), x=right[0], rest=right[3])
    assert changed == Point(right[0], left[1], left[2], right[3])
    for again in (pickle.loads(pickle.dumps(changed)), copy.deepcopy(changed), copy.copy(changed)):
        assert again == changed
        assert type(again) is Point


@given(st.integers(), st.integers())
def test_equal_values_hash_alike(x: int, y: int) -> None:
    assert len({One((x,)), One((y,))}) == len({x, y})
    assert {One((x,)): 1}[One((x,))] == 1


def test_values_of_other_classes_are_never_equal() -> None:
    assert Point(1) != Twin(1)
    assert One() != (1, 2)


def test_a_mapping_in_a_value_makes_it_unhashable() -> None:
    with pytest.raises(TypeError):
        hash(Point(1))


def test_nothing_can_be_changed() -> None:
    point = Point(1)
    for name in ("x", "rest", "other"):
        with pytest.raises(AttributeError):
            setattr(point, name, 2)
        with pytest.raises(AttributeError):
            delattr(point, name)
    assert not hasattr(point, "__dict__")
    assert point == Point(1)


def test_defaults_made_anew_are_not_shared() -> None:
    assert Point(1).tags == {}
    assert Point(1).tags is not Point(1).tags
    assert Point(1, tags={"a": 1}).tags == {"a": 1}


def test_arguments_are_taken_as_dataclasses_take_them() -> None:
    assert Point(rest=(1,), x=3).rest == (1,)
    for bad in ((), (1, "a", {}, (), 5)):
        with pytest.raises(TypeError):
            Point(*bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Point(1, unknown=2)  # type: ignore[call-arg]
    assert list(inspect.signature(Point).parameters) == list(inspect.signature(Twin).parameters)
    match Point(1, "b"):
        case Point(x, name, rest=rest):
            assert (x, name, rest) == (1, "b", ())


def test_they_are_what_they_were_declared_as() -> None:
    assert Point.__doc__ == "A value."
    assert Point(4).double == 8
    assert dataclasses.is_dataclass(Point)
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "name", "tags", "rest"]
    factories = {field.name: field.default_factory for field in dataclasses.fields(Point)}
    assert factories["tags"] is dict


def test_a_field_without_default_behind_one_that_has_it_is_refused() -> None:
    with pytest.raises(TypeError, match="without default"):

        @frozen
        class Wrong:
            first: int = 1
            second: int


@frozen
class Shown:
    """A value that says itself how it is shown."""

    x: int

    def __repr__(self) -> str:
        return f"<{self.x}>"


def test_what_a_class_defines_itself_stands() -> None:
    assert repr(Shown(3)) == "<3>"
    assert Shown(3) == Shown(3)


def test_the_fields_are_made_once() -> None:
    assert dataclasses.replace(Shown(3), x=4) == Shown(4)
    assert Shown.__dataclass_fields__ is Shown.__dataclass_fields__  # type: ignore[attr-defined]
