"""Fields that describe themselves: what is documented, what files may give, which limits hold."""

import math
from dataclasses import MISSING, dataclass, field, fields

import pytest

from parasim.errors import ScenarioError
from parasim.fields import INTERNAL, check_fields, default_of, described, limits_of, option, quantity, setting
from parasim.program import scheme


@dataclass(frozen=True, slots=True)
class Tank:
    size: float = quantity("bytes", "how much it holds", math.inf, file_default=MISSING, gt=0)
    level: float = setting("how full it is", 0.5, ge=0, lt=1)
    taps: tuple[int, ...] = option((1,), "sizes of the taps", le=3)
    label: str = setting("what stands on it", "")
    made: int = field(default=0, metadata=INTERNAL)
    _sum: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        check_fields(self, "tank")


def test_files_may_give_what_is_described() -> None:
    assert list(described(Tank)) == ["size", "level", "taps", "label"]
    assert {name: default_of(entry) for name, entry in described(Tank).items()} == {
        "size": MISSING,
        "level": 0.5,
        "taps": (1,),
        "label": "",
    }
    assert described(Tank)["size"].metadata["dimension"] == "bytes"
    assert [limits_of(entry) for entry in fields(Tank)] == [{"gt": 0}, {"ge": 0, "lt": 1}, {"le": 3}, {}, {}, {}]


def test_infinity_is_taken_where_it_is_the_default() -> None:
    assert Tank(math.inf, 0.0).size == math.inf


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "tank: size must be greater than 0, got 0"),
        ({"size": math.nan}, "tank: size must be greater than 0, got nan"),
        ({"level": -0.1}, "tank: level must be at least 0, got -0.1"),
        ({"level": 1}, "tank: level must be less than 1, got 1"),
        ({"taps": (1, 4)}, "tank: taps must be at most 3, got 4"),
        ({"taps": (-math.inf,)}, "tank: taps must be finite, got -inf"),
    ],
)
def test_limits_hold(values: dict, message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        Tank(**values)
    assert str(error.value) == message


def test_schemes_describe_their_options_so() -> None:
    assert scheme.option is option


def test_a_name_that_python_keeps_has_a_line_below_it_and_none_is_in_no_range() -> None:
    @dataclass(frozen=True, slots=True)
    class Window:
        from_: float = quantity("seconds", "when it opens", 0.0, ge=0)
        until: float | None = setting("when it closes", None, gt=0)

        def __post_init__(self) -> None:
            check_fields(self, "window")

    assert {name: entry.name for name, entry in described(Window).items()} == {"from": "from_", "until": "until"}
    assert Window().until is None
    with pytest.raises(ScenarioError, match="window: until must be greater than 0, got 0"):
        Window(until=0)
