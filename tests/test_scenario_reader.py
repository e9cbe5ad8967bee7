"""Reading YAML: plain values with places, and everything that is refused before it can do harm."""

import math
from pathlib import Path

import pytest

from parasim.errors import ScenarioError
from parasim.scenario.reader import MAX_BYTES, Tree, read_file, read_value
from tests.effort import SECOND, calls_of


def read(folder: Path, text: str | bytes) -> Tree:
    path = folder / "s.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_file(path)


def test_plain_values_of_yaml_1_2(tmp_path: Path) -> None:
    text = "a: [1, 2.5, 1e6, 0x10, 0o17, 010, 1_000, true, yes, ~, 2001-12-14, '5', 1:30]\n3: {b: .inf, c: x}\n"
    tree = read(tmp_path, text)
    assert tree.data == {
        "a": [1, 2.5, 1e6, 16, 15, 10, 1000, True, "yes", None, "2001-12-14", "5", "1:30"],
        3: {"b": math.inf, "c": "x"},
    }
    assert [type(value) for value in tree.data["a"][:3]] == [int, float, float]


def test_places_of_keys_and_values(tmp_path: Path) -> None:
    places = read(tmp_path, "a:\n  b: 1\n  c: [x, y]\n").places
    source = str(tmp_path / "s.yaml")
    assert places.of_key(("a", "b")) == f"{source}:2:3"
    assert places.of_value(("a", "b")) == f"{source}:2:6"
    assert places.of_value(("a", "c", 1)) == f"{source}:3:10"
    assert places.of_value(("a", "missing", "deeper")) == f"{source}:2:3"
    assert places.of_value(()) == f"{source}:1:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: !!python/object/apply:os.system [ls]",
            "1:4: a: tag '!!python/object/apply:os.system' is not allowed: write a plain value",
        ),
        ("a: !x 1", "1:4: a: tag '!x' is not allowed: write a plain value"),
        ("a: &x [1]\nb: *x", "1:4: a: anchor '&x' is not allowed: write the value out where it is used"),
        ("a: *x", "1:4: a: alias '*x' is not allowed: write the value out"),
        ("a: 1\n<<: {b: 1}", "2:1: merge key '<<' is not allowed: write the values out"),
        ("a:\n  b: 1\n  b: 2", "3:3: a.b: is given twice (first at FILE:2:3)"),
        ("[1, 2]", "1:1: holds no mapping: begin with 'workload:' (see scenarios/quickstart.yaml)"),
        ("a: 1\n---\nb: 2", "2:1: a second document begins here: use 'variants:'"),
        ("a: [1", "1:6: is no valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "1:5: is no valid YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", "2:1: is no valid YAML: found character '\\t' that cannot start any token: use spaces"),
        ("? [a]\n: 1", "1:3: a key must be a word"),
        ("a: 1\nb: \x01", "2:4: is no valid YAML: character #x01 is not allowed"),
        (b"a: 1\nb: \xff", "2:4: is no UTF-8 text: save the file as UTF-8"),
        ("a: " + "9" * 500, "1:4: a: a number of 500 digits is too long"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read(tmp_path, text)
    source = str(tmp_path / "s.yaml")
    assert str(error.value) == f"{source}:{message.replace('FILE', source)}"


def test_empty_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"s\.yaml: is empty: begin with 'workload:'"):
        read(tmp_path, "# nothing\n")
    with pytest.raises(
        ScenarioError, match=r"absent\.yaml: can't be read: No such file or directory: name a scenario file$"
    ):
        read_file(tmp_path / "absent.yaml")
    with pytest.raises(ScenarioError, match=r"can't be read: Is a directory: name a scenario file$"):
        read_file(tmp_path)


_BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (_BOMB, "anchor '&a' is not allowed"),
        ("a: " + "[" * 130_000, "nested deeper than 24 levels"),
        ("".join(f"{'  ' * i}a:\n" for i in range(100)), "nested deeper than 24 levels"),
        ("a: [" + "1," * 60_000 + "1]", "more than 5000 keys and values"),
        ("a: '" + "x" * MAX_BYTES + "'", "is larger than 128 KiB, the limit for a scenario"),
        ("? " * 60_000, "a key must be a word"),
    ],
)
def test_bombs_are_refused_fast(tmp_path: Path, text: str, match: str) -> None:
    def refused() -> None:
        with pytest.raises(ScenarioError, match=match) as error:
            read(tmp_path, text)
        assert "\n" not in str(error.value)

    assert calls_of(refused) < SECOND


def test_a_value_of_an_override() -> None:
    assert read_value("{a: [1, 2 GB]}", "override 'x'") == {"a": [1, "2 GB"]}
    with pytest.raises(ScenarioError) as error:
        read_value("[1", "override 'x={line}'")
    assert str(error.value).startswith("override 'x={line}': is no valid YAML")
