"""A collective as a whole: the rounds of the group are those of its members."""

import pytest

from parasim.program import Buffer, Collective, Group
from parasim.program.collectives.algorithms import ALGORITHMS, check, schedule
from parasim.program.collectives.together import rounds_together

SIZES = (1, 2, 3, 4, 5, 6, 8, 9, 12, 16)
NAMED = [pair for pair in ALGORITHMS if pair[0] != "barrier"]


def ops(kind: str, algorithm: str, size: int, elements: int) -> list[Collective]:
    group = Group("all", tuple(range(size)))
    shape = (2, size // 2) if algorithm == "hierarchical" and size % 2 == 0 else None
    if algorithm == "hierarchical" and shape is None:
        shape = (1, size)
    counts = None
    if kind == "all_to_all":
        even = elements // size
        counts, elements = (even,) * size, even * size
    return [
        Collective(
            kind, group, Buffer("x", elements, 4), algorithm, counts=counts, counts_in=counts, shape=shape, chunks=3
        )
        for _ in range(size)
    ]


@pytest.mark.parametrize("elements", [0, 1, 48, 1003])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "algorithm"), NAMED)
def test_rounds_of_the_group_are_those_of_its_members(kind: str, algorithm: str, size: int, elements: int) -> None:
    members = ops(kind, algorithm, size, elements)
    for index, op in enumerate(members):
        check(op, index)
    own = [list(schedule(op, index)) for index, op in enumerate(members)]
    together = list(rounds_together(members))
    assert len(together) == len(own[0])
    for number, whole in enumerate(together):
        sent = sorted((i, m.peer, m.stop - m.start) for i, rounds in enumerate(own) for m in rounds[number].sends)
        received = sorted(
            (m.peer, i, m.stop - m.start, m.reduce) for i, rounds in enumerate(own) for m in rounds[number].receives
        )
        pairs = list(zip(whole.senders, whole.receivers, whole.elements, strict=True))
        assert sorted(pairs) == sent
        assert sorted((*pair, flag) for pair, flag in zip(pairs, whole.reduce, strict=True)) == received
        complete = sorted((i, stop - start) for i, rounds in enumerate(own) for start, stop in rounds[number].complete)
        assert sorted(whole.complete) == complete
