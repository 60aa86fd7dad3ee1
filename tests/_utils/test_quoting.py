"""Shortened values of users in messages."""

import numpy as np
import pytest

from skmissvae._utils.quoting import listed, quoted, shortened


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Ulm", "'Ulm'"),
        (None, "None"),
        ("x" * 48, f"'{'x' * 48}'"),
        ("x" * 20_000, f"'{'x' * 34}...{'x' * 11}'"),
        (np.eye(2), "array([[1., 0.], [0., 1.]])"),
    ],
)
def test_values_are_quoted_in_at_most_50_characters(value, expected):
    assert quoted(value) == expected
    assert len(quoted(value)) <= 50


def test_texts_are_shortened_in_the_middle():
    assert shortened("one\n two", 10) == "one two"
    assert shortened("0123456789" * 10, 20) == "012345678901...56789"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        (["a", 1], "'a', 1"),
        (range(10), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (range(12), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... and 2 more"),
    ],
)
def test_lists_have_at_most_ten_values(values, expected):
    assert listed(values) == expected


def test_lists_of_long_values_have_fewer():
    texts = [f"{'x' * 1000}{i}" for i in range(500)]
    assert listed(texts) == ", ".join([*(quoted(t, 30) for t in texts[:3]), "... and 497 more"])
    assert listed(texts, width=10) == f"{quoted(texts[0], 30)}, ... and 499 more"
