"""Where messages are held that wait: by their sender until they have arrived, then by the receiver until a pass."""

import pytest

import parasim
from parasim.metrics.memory import course_of, tensors_of
from parasim.scenario import from_document
from tests.schemes_real import executed

ONE = 4 * 16 * 4
"""Bytes of a micro-batch between two stages: 4 samples, 16 neurons."""


def case(kind, speeds, **options):
    """Two stages, one of which takes 5 or 10 times as long as the other; each pass ten milliseconds or more."""
    return from_document(
        {
            "name": kind,
            "workload": {
                "model": {"kind": "mlp", "width": 16, "depth": 4, "activation": "relu"},
                "batch_size": 16,
                "data": {"kind": "digits"},
            },
            "cluster": {
                "topology": {"kind": "star", "hosts": 2},
                "device": {"flops": "1 MFLOP/s", "memory": "1 GiB", "memory_bandwidth": "1 GB/s"},
                "link": {"bandwidth": "10 Gbit/s", "latency": "20 us"},
                "speeds": speeds,
            },
            "scheme": {"kind": kind, "workers": 2, "stages": [2, 2], **options},
            "optimizer": {"kind": "sgd", "lr": 0.1},
            "run": {"steps": 3, "learn": True},
            "execute": {"compute": "paced"},
        }
    )


def courses(result):
    """What each rank held, note by note."""
    return [[held.bytes_of for held in course_of(result.trace, rank)] for rank in (0, 1)]


def peaks(result):
    """The most in messages that each rank held; the tensors say the same."""
    for rank in (0, 1):
        said, counted = course_of(result.trace, rank), tensors_of(result.trace, rank)
        assert [held.bytes_of for held in said] == [held.bytes_of for held in counted]
        assert said[-1].bytes_of["messages"] == 0
    return [max(held["messages"] for held in course) for course in courses(result)]


WAITING = {
    "up": ("gpipe", {1: 0.1}, {"micro_batches": 4}, 1, 3),
    "down": ("gpipe", {0: 0.2}, {"micro_batches": 4}, 0, 3),
    "one in turn": ("pipedream_flush", {1: 0.2}, {"micro_batches": 4}, 1, 2),
}
"""The slow stage, and how many messages it holds at the most: its lanes ask for all of a mini-batch ahead.

How many the fast one holds, on their way, is a matter of a link's times, which differ in real runs.
"""


@pytest.mark.parametrize("name", WAITING)
def test_what_has_come_is_held_by_the_receiver(name):
    kind, speeds, options, slow, most = WAITING[name]
    assert peaks(parasim.simulate(case(kind, speeds, **options)))[slow] == most * ONE


@pytest.mark.real
@pytest.mark.parametrize("name", WAITING)
def test_programs_of_real_ranks_hold_and_release_what_simulated_ones_do(name, pool):
    """How many messages wait at once is a matter of times: of a fast rank that a busy machine holds up, fewer or more.

    Each program takes and gives up the same in the same order, and the tensors say the same at every moment.
    """
    kind, speeds, options, slow, _ = WAITING[name]
    made = case(kind, speeds, **options)
    real = executed(made, pool)
    assert peaks(real)[slow] >= ONE
    assert by_program(real) == by_program(parasim.simulate(made))


def by_program(result):
    """What each program held and released, in its order."""
    found = {}
    for row in result.trace:
        if row.label in ("hold", "release"):
            found.setdefault((row.rank, row.program), []).append((row.label, row.buffer, row.held_bytes))
    return found


def while_waiting(trace):
    """What both ranks held in messages halfway through the waiting of each message from rank 0 for its receiver."""
    sends = [row for row in trace if row.op == "send" and row.rank == 0 and row.t_start - row.t_post > 5e-3]
    found = []
    for row in sends:
        middle = (row.t_post + row.t_start) / 2
        by_then = [[held for held in course_of(trace, rank) if held.seconds <= middle][-1] for rank in (0, 1)]
        found.append((row.nbytes, *(held.bytes_of["messages"] for held in by_then)))
    return found


def held_by_the_sender(trace):
    found = while_waiting(trace)
    return len(found) >= 2 and all(nbytes <= first and second == 0 for nbytes, first, second in found)


def test_what_nobody_has_asked_for_is_held_by_its_sender():
    """FDG asks for outputs at the end of an iteration: what is announced before takes nothing at the receiver."""
    result = parasim.simulate(case("fdg", {1: 0.2}))
    assert held_by_the_sender(result.trace)


@pytest.mark.real
def test_real_ranks_hold_what_nobody_has_asked_for(pool):
    """Note by note, as the simulated ones: a module's one lane leaves its notes no other order."""
    made = case("fdg", {1: 0.2})
    real, simulated = executed(made, pool), parasim.simulate(made)
    assert courses(real) == courses(simulated)
    assert peaks(real) == peaks(simulated)
