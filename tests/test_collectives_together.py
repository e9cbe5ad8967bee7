"""A collective as a whole: the rounds of the group are those of its members."""

import numpy as np
import pytest

from parasim.program import Buffer, Collective, Group
from parasim.program.collectives.algorithms import ALGORITHMS, check, schedule
from parasim.program.collectives.together import GroupRound, rounds_together, runs_together
from tests.effort import in_one_test

SIZES = (1, 2, 3, 4, 5, 6, 8, 9, 12, 16)
NAMED = [pair for pair in ALGORITHMS if pair[0] != "barrier"]


def ops(kind: str, algorithm: str, size: int, elements: int) -> list[Collective]:
    group = Group("all", tuple(range(size)))
    shape = None
    if algorithm.startswith("hierarchical"):
        shape = (2, size // 2) if size % 2 == 0 else (1, size)
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


@pytest.mark.parametrize(("kind", "algorithm"), NAMED)
@in_one_test("size", SIZES)
@in_one_test("elements", [0, 1, 48, 1003])
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


@pytest.mark.parametrize(("kind", "algorithm"), NAMED)
@in_one_test("size", SIZES)
@in_one_test("elements", [1, 48, 1003])
def test_runs_are_rounds_told_at_once(kind: str, algorithm: str, size: int, elements: int) -> None:
    members = ops(kind, algorithm, size, elements)
    rounds, runs = list(rounds_together(members)), list(runs_together(members))
    assert sum(run.count for run in runs) == len(rounds)
    sums = np.zeros((4, size))
    for run in runs:
        own, rounds = rounds[: run.count], rounds[run.count :]
        for other in own:
            assert np.array_equal(sorted(zip(*_ends(other), strict=True)), sorted(zip(*_ends(run.first), strict=True)))
            assert other.reduce.tolist() == run.first.reduce.tolist()
            sums[0] += np.bincount(other.senders, other.elements, size)
            sums[1] += np.bincount(other.senders, minlength=size)
            sums[2] += np.bincount(other.receivers, other.elements, size)
            sums[3] += np.bincount(other.receivers, minlength=size)
        assert run.longest == max([int(other.elements.max(initial=0)) for other in own])
        assert [other.complete for other in own][-1] == run.first.complete
        assert not any(other.complete for other in own[:-1])
        assert run.first.elements.tolist() == own[0].elements.tolist()
    assert np.array_equal(sums, sum([np.array([*run.sent, *run.received]) for run in runs], np.zeros((4, size))))


def _ends(first: GroupRound) -> tuple[list[int], list[int]]:
    return first.senders.tolist(), first.receivers.tolist()
