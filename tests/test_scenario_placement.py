"""Which host a rank sits on."""

from collections.abc import Mapping, Sequence

import pytest

from parasim.program.cast import Role
from parasim.scenario.placement import place


def roles(**counts: int) -> list[Role]:
    return [Role(name, count, lambda me: iter(())) for name, count in counts.items()]  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("counts", "hosts", "chosen", "expected"),
    [
        ({"worker": 4}, 4, {}, (0, 1, 2, 3)),
        ({"worker": 5}, 2, {}, (0, 1, 0, 1, 0)),
        ({"worker": 2, "server": 1}, 3, {}, (0, 1, 2)),
        ({"worker": 2, "server": 3}, 4, {}, (0, 1, 2, 3, 2)),
        ({"worker": 2, "server": 1, "chief": 1}, 4, {}, (0, 1, 2, 3)),
        ({"worker": 3, "server": 2}, 2, {}, (0, 1, 0, 0, 1)),
        ({"worker": 4, "server": 1}, 5, {"server": [0]}, (1, 2, 3, 4, 0)),
        ({"worker": 4, "server": 1}, 5, {"worker": [0, 1]}, (0, 1, 0, 1, 2)),
        ({"worker": 2, "server": 1}, 1, {"server": [0]}, (0, 0, 0)),
        ({"worker": 2, "server": 2}, 9, {"worker": [8, 8], "server": [3]}, (8, 8, 3, 3)),
    ],
)
def test_place(
    counts: dict[str, int], hosts: int, chosen: Mapping[str, Sequence[int]], expected: tuple[int, ...]
) -> None:
    assert place(roles(**counts), hosts, chosen) == expected


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"servr": [0]}, "no role 'servr' in this scheme (roles: worker)"),
        ({"worker": []}, "role 'worker' has no host: list one or more of 0..3"),
        ({"worker": [0, 1, 2]}, "role 'worker' has 2 actors but 3 hosts are listed"),
        ({"worker": [4]}, "role 'worker': host 4 does not exist (hosts: 0..3)"),
        ({"worker": [-1]}, "role 'worker': host -1 does not exist (hosts: 0..3)"),
    ],
)
def test_refused(chosen: Mapping[str, Sequence[int]], message: str) -> None:
    with pytest.raises(ValueError) as error:
        place(roles(worker=2), 4, chosen)
    assert str(error.value) == message
