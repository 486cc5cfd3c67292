"""Records to JSON and arrays and back: bit by bit, known classes only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipverify.bounds.quadratic import WarmStart
from lipverify.errors import LipverifyError
from lipverify.numerics import DTYPE
from lipverify.search.branching import Candidate, PseudoCosts
from lipverify.search.checkpoint import file
from lipverify.search.checkpoint.codec import RECORDS, Packed, pack, schema, unpack
from lipverify.search.gate_split import Evaluation
from lipverify.search.split import Split
from lipverify.spec.digest import digest
from lipverify.verdict import Reason


def through_a_file(value: object) -> Any:
    """As text and bytes, as the file has them."""
    import json

    packed = pack(value)
    numbers = {
        name: file.read_array(file.array_bytes(array)) for name, array in packed.numbers.items()
    }
    return unpack(Packed(json.loads(file.text_bytes(packed.tree)), numbers))


def same(left: Any, right: Any) -> bool:
    """Equal bit by bit, and of the same classes."""
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        return same(left.numpy(), right.numpy())
    if isinstance(left, np.ndarray):
        return (left.dtype, left.shape) == (right.dtype, right.shape) and (
            left.tobytes() == right.tobytes()
        )
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Mapping):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if hasattr(left, "__dataclass_fields__"):
        return all(same(getattr(left, e.name), getattr(right, e.name)) for e in fields(left))
    if isinstance(left, float):
        return left.hex() == right.hex()
    return left == right


numbers = st.floats(width=64)
names = st.text(max_size=6)
arrays = st.tuples(
    st.sampled_from([(), (0,), (3,), (2, 0), (1, 2, 2)]), st.integers(0, 2**32 - 1)
).map(lambda drawn: np.random.default_rng(drawn[1]).standard_normal(drawn[0]))
gates = st.tuples(names, st.integers(0, 99))
records = st.one_of(
    st.builds(
        Split,
        names,
        st.integers(0, 99),
        st.sampled_from([-1, 1]),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.builds(Candidate, gates, numbers, numbers, numbers, numbers),
    st.builds(
        PseudoCosts,
        st.dictionaries(
            st.tuples(gates, st.sampled_from([-1, 1])), st.tuples(numbers, st.integers(0, 9))
        ),
        st.tuples(numbers, numbers),
    ),
    st.builds(
        Evaluation,
        numbers,
        st.lists(st.builds(Candidate, gates, numbers, numbers, numbers), max_size=3).map(tuple),
        st.builds(WarmStart, st.none(), st.one_of(st.none(), arrays)),
        st.one_of(st.none(), arrays.map(torch.from_numpy)),
    ),
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**60), 2**60),
        numbers,
        names,
        st.sampled_from(list(Reason)),
        arrays,
        arrays.map(torch.from_numpy),
        arrays.map(lambda array: torch.from_numpy(array) > 0),
        records,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_round_trip(value: object) -> None:
    again = through_a_file(value)
    assert same(value, again)


def test_arrays_that_are_shared_are_stored_once() -> None:
    shared = torch.arange(100, dtype=DTYPE)
    packed = pack((shared, {"again": shared}, shared.clone()))
    assert len(packed.numbers["float64"]) == 200


def test_loaded_tensors_do_not_share_memory() -> None:
    one = torch.arange(3, dtype=DTYPE)
    first, second = through_a_file((one, one))
    first += 1.0
    assert torch.equal(second, one)


@dataclass(frozen=True)
class Unheard:
    value: int


@pytest.mark.parametrize(
    "value", [Unheard(1), [1], {1}, object(), torch.zeros(1, dtype=torch.float16), 1j]
)
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        pack((value,))


def mentioned(kind: Any) -> Iterator[type]:
    """Every class in a declared type; entries of arrays aside."""
    if get_origin(kind) is np.ndarray:
        kind = np.ndarray
    parts = [part for part in get_args(kind) if part is not Ellipsis]
    for part in parts:
        yield from mentioned(part)
    if not parts and isinstance(kind, type):
        yield kind


PLAIN = (type(None), bool, int, float, str, torch.Tensor, np.ndarray, Reason)
ANYTHING = {("PropertyProgress", "kept")}
"""What each piece of work keeps; it checks the class when it takes it back."""


@pytest.mark.parametrize("name", RECORDS)
def test_records_hold_what_can_be_stored(name: str) -> None:
    """Every class that a field declares is a record itself, or a plain value."""
    for field, kind in get_type_hints(RECORDS[name]).items():
        if field not in schema()[name] or (name, field) in ANYTHING:
            continue
        for cls in mentioned(kind):
            if cls not in PLAIN:
                assert RECORDS.get(cls.__name__) is cls, f"{name}.{field}: {cls.__name__}"


def test_values_of_other_types_are_refused() -> None:
    numbers = {name: np.zeros(4, dtype=name) for name in ("float64", "int64", "uint8", "bool")}
    good = {"Split": ["z", 0, 1, 0.1]}
    assert unpack(Packed(good, numbers)) == Split("z", 0, 1, 0.1)
    for tree in (
        {"Split": ["z", 0.0, 1, 0.1]},
        {"Split": ["z", True, 1, 0.1]},
        {"Split": [None, 0, 1, 0.1]},
        {"Split": ["z", 0, 1]},
        {"Split": ["z", 0, 1, 0.1, 2]},
        {"Split": ["z", 0, 0, 0.1]},
        {"Split": ["z", 0, 1, 1]},
        {"Split": ["z", 0, 1, "0.1"]},
        {"Split": ["z", 0, 1, {"float": "nan"}]},
        {"Split": ["z", 0, 1, {"float": "inf"}]},
        {"Split": "z01"},
        {"Interval": [{"tensor": ["float64", 0, 2]}, {"tensor": ["float64", 0, 3]}]},
        {"Interval": [{"array": ["float64", 0, 2]}, {"array": ["float64", 0, 2]}]},
        {"Candidate": [["z", "0"], 0.0, 0.0, 0.0, 0.0]},
        {"Candidate": [["z"], 0.0, 0.0, 0.0, 0.0]},
        {"PseudoCosts": [{"map": [["z", [0.0, 1]]]}, [0.0, 0.0]]},
        {"tensor": ["float64", 3, 2]},
        {"tensor": ["float32", 0, 2]},
        {"tensor": ["float64", 0, 1.5]},
        {"Reason": "boredom"},
        {"float": "x"},
        {},
        {"Split": ["z", 0, 1, 0.1], "Bound": [0.0, 1.0]},
    ):
        with pytest.raises((ValueError, TypeError, LipverifyError)):
            unpack(Packed(tree, numbers))


def test_digests_tell_values_apart() -> None:
    one = torch.tensor([1.0, 2.0], dtype=DTYPE)
    different = [
        (one,),
        (one, one),
        ((one, one),),
        (one.reshape(1, 2),),
        (one.to(torch.float32),),
        (1,),
        (1.0,),
        ("1",),
        (True,),
        (None,),
        ("None",),
        (Split("z", 1, 1),),
        (("z", 1, 1),),
        ("ab", "c"),
        ("a", "bc"),
        (),
        ((),),
    ]
    assert len({digest(value) for value in different}) == len(different)
    assert digest((one.clone(), 0.1)) == digest((one, 0.1))
    with pytest.raises(TypeError):
        digest(object())
