"""Values as JSON and arrays: every value comes back with its class and its bits."""

import collections
import datetime
import decimal
import fractions
import functools
import json
import math
import operator
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest
import torch

from skmissvae.tables.plain_values import PlainReader, PlainWriter
from skmissvae.tables.schema import ColumnSchema
from skmissvae.vae import StudentTPrior

CLASSES = {"ColumnSchema": ColumnSchema}
FUNCTIONS = {"StudentTPrior": StudentTPrior}
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
VALUES = [
    *(None, True, 7, 2**70, -0.0, 1.5, math.inf, -math.inf, "text", "@tag", "\ud800", b"\x00\xff"),
    *([], (), {}, [1, (2, [3])], {1, 2}, frozenset({"a"}), {"a": (1,)}, {"@a": 1}, {(1, 2): "b"}),
    *({1: 2.0, "1": 3}, collections.OrderedDict(a=1), 1 + 2j, decimal.Decimal("1.10")),
    *(fractions.Fraction(1, 3), uuid.UUID(int=5), datetime.date(2020, 2, 29)),
    *(datetime.time(1, 2, 3), datetime.timedelta(days=-1, microseconds=5)),
    *(datetime.datetime(2020, 10, 25, 2, 30, fold=1), datetime.datetime(1, 1, 1, tzinfo=BERLIN)),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=5))),
    *(np.float32(0.1), np.float64(math.inf), np.int8(-3), np.bool_(True), np.str_("a")),
    *(np.datetime64("2020-01-01", "ns"), np.timedelta64(5, "h"), pd.NaT, pd.NA),
    *(pd.Timestamp("2020-01-01", tz="Europe/Berlin"), pd.Timedelta("1h"), pd.Period("2020-01")),
    *(pd.Interval(0.5, 1.5), pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021"), "left")),
    *(torch.device("cpu"), ColumnSchema("categorical", (1, 2)), StudentTPrior),
]
ARRAYS = [
    *(np.arange(6.0).reshape(2, 3).T, np.array(3), np.zeros((0, 4)), np.array([True, False])),
    *(np.array(["a", "bcd"]), np.array([1, "a", None], object), np.array([b"a"])),
    *(np.array(["2020", "NaT"], "M8[us]"), np.array([1, 2], "m8[h]"), np.array([1.0], ">f8")),
    *(np.float16([1, np.nan]), np.array([[], []], object)),
]


def round_trip(value, custom=None):
    writer = PlainWriter(CLASSES, FUNCTIONS)
    plain = json.loads(json.dumps(writer.write(value, "value"), allow_nan=False))
    return PlainReader(CLASSES, FUNCTIONS, writer.arrays, custom or {}).read(plain)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back(value):
    restored = round_trip(value)
    is_ordered = isinstance(value, collections.OrderedDict)
    assert type(restored) is (dict if is_ordered else type(value))
    assert repr(restored) == repr(dict(value) if is_ordered else value)
    if isinstance(value, datetime.datetime):
        assert (restored.tzinfo, restored.fold) == (value.tzinfo, value.fold)


@pytest.mark.parametrize("value", ARRAYS, ids=repr)
def test_arrays_come_back(value):
    restored = round_trip({"array": value})["array"]
    assert restored.shape == value.shape
    assert restored.dtype == value.dtype.newbyteorder("=")
    np.testing.assert_array_equal(restored, value)


def test_nan_comes_back():
    assert math.isnan(round_trip(math.nan))
    assert type(round_trip(np.float32(np.nan))) is np.float32


def test_partial_functions_of_known_ones_come_back():
    restored = round_trip(functools.partial(StudentTPrior, df=3))
    assert (restored.func, restored.keywords) == (StudentTPrior, {"df": 3})


def test_random_states_come_back():
    state = np.random.RandomState(3)
    state.normal()
    assert round_trip(state).normal() == state.normal()


def test_custom_functions_are_stored_by_name():
    first, second = (lambda n: n), (lambda n: n + 1)
    writer = PlainWriter(CLASSES, FUNCTIONS)
    plain = writer.write([first, second, first], "value")
    assert plain[0] == plain[2] != plain[1]
    assert list(writer.custom.values()) == [first, second]
    assert PlainReader(CLASSES, FUNCTIONS, {}, writer.custom).read(plain) == [first, second, first]


OTHERS = [object(), np.zeros(2, "c8"), np.zeros(2, "f4,i4"), range(3)]


def test_other_values_are_kept_if_requested():
    writer = PlainWriter(CLASSES, FUNCTIONS, keeps_others=True)
    plain = json.loads(
        json.dumps(writer.write({"a": OTHERS, "b.c": OTHERS[0], "b": {"c": OTHERS[3]}}, "v"))
    )
    restored = PlainReader(CLASSES, FUNCTIONS, writer.arrays, writer.custom).read(plain)
    assert all(map(operator.is_, restored["a"], OTHERS))
    assert restored["b.c"] is OTHERS[0]
    assert len(writer.custom) == 6


@pytest.mark.parametrize("value", OTHERS)
def test_other_values_are_refused_with_their_place(value):
    with pytest.raises(TypeError, match=r"cannot store value\.a\.0"):
        PlainWriter(CLASSES, FUNCTIONS).write({"a": [value]}, "value")


@pytest.mark.parametrize(
    "plain",
    [
        *({"@object": ["os.system", {}]}, {"@function": "eval"}, {"@custom": "eval"}),
        *({"@import": "os"}, {"@array": ["missing"]}, {"@objects": ["V8", [1], [1]]}),
        *({"@objects": ["O", [9], [1]]}, {"@time": ["O", 1]}, {"@numpy": ["V10000000000", 1]}),
        *({"@partial": ["eval", [[], {}]]}, {"@dict": [[[1], 2]]}, {"@pandas": "__loader__"}),
    ],
    ids=str,
)
def test_names_outside_the_lists_are_refused(plain):
    with pytest.raises((ValueError, KeyError, TypeError)):
        PlainReader(CLASSES, FUNCTIONS, {}, {}).read(plain)
