"""The list of faults and that of the fast tests name what exists."""

import pytest
from mutants import ROOT, fast_tests, mutants


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.fault)
def test_a_fault_replaces_a_text_that_occurs_once(mutant):
    path = ROOT / "skmissvae" / mutant.file
    text = path.read_text(encoding="utf-8")
    assert text.count(mutant.original) == 1
    compile(text.replace(mutant.original, mutant.replacement), str(path), "exec")


@pytest.mark.parametrize("test", fast_tests()[1])
def test_fast_tests_exist(test):
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not name or f"\ndef {name}(" in text


def test_no_fault_has_the_name_of_another():
    names = [mutant.fault for mutant in mutants()]
    assert len(set(names)) == len(names)
