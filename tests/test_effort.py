"""What saves effort in tests (tests/effort.py) does not save any of the proof."""

import inspect

import pytest

from tests.effort import in_one_test


def test_cases_in_one_test_all_run_and_a_failure_names_its_own(monkeypatch):
    seen = []

    @in_one_test("size", [2, 3])
    @in_one_test(("kind", "name"), [("a", "x"), ("b", "y")])
    def holds(size, kind, name, monkeypatch):
        seen.append((size, kind, name))
        assert (size, name) != (3, "y") or not failing

    assert list(inspect.signature(holds).parameters) == ["monkeypatch"]
    failing = False
    holds(monkeypatch=monkeypatch)
    assert seen == [(2, "a", "x"), (2, "b", "y"), (3, "a", "x"), (3, "b", "y")]
    failing = True
    with pytest.raises(AssertionError) as caught:
        holds(monkeypatch=monkeypatch)
    assert caught.value.__notes__ == ["kind = 'b', name = 'y'", "size = 3"]


def test_a_name_that_is_no_parameter_and_no_cases_are_mistakes():
    with pytest.raises(AssertionError, match="does not take sise"):
        in_one_test("sise", [1])(lambda size: None)
    with pytest.raises(AssertionError, match="no values of size"):
        in_one_test("size", [])(lambda size: None)()
