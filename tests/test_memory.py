"""Memory over time by part, from notes of what is held; and the tensors behind it, counted at the same notes."""

import pytest

from parasim.metrics.memory import course_of, memory_of, tensors_of
from parasim.program.state import Ledger
from parasim.trace.parts import PARTS, part_of
from parasim.trace.rows import Row
from tests.schemes_real import executed, learning
from tests.schemes_setup import run

CASES = {
    "plain": {"micro_batches": 4},
    "recomputing": {"micro_batches": 4, "recompute": True},
}


def note(label, nbytes, at):
    return Row(
        rank=0, role="worker", index=0, lane="main", program="main#0", op="log",
        label="hold" if nbytes > 0 else "release", buffer=label, held_bytes=nbytes, t_post=at, t_start=at, t_end=at,
    )  # fmt: skip


def test_labels_belong_to_parts():
    assert PARTS == ("weights", "stashed versions", "gradients", "optimizer state", "activations", "buffers")
    assert [part_of(label) for label in ("weights", "inputs", "gradient", "incoming")] == [
        *("weights", "activations", "gradients", "buffers")
    ]


def test_the_course_of_memory_has_an_entry_per_note():
    rows = [note("weights", 8, 0.0), note("inputs", 4, 1.0), note("incoming", 2, 2.0), note("inputs", -4, 3.0)]
    course = course_of(rows, 0)
    assert [(held.seconds, held.total) for held in course] == [(0.0, 8), (1.0, 12), (2.0, 14), (3.0, 10)]
    assert course[2].bytes_of == {**dict.fromkeys(PARTS, 0), "weights": 8, "activations": 4, "buffers": 2}
    assert course_of(rows, 1) == []


def test_a_block_of_memory_is_counted_once_whoever_shares_it():
    ledger = Ledger()
    assert ledger.hold({100: 8, 200: 4}) == 12
    assert ledger.hold({100: 8}) == 0
    assert ledger.release({100: 8, 200: 4}) == 4
    assert ledger.release({100: 8}) == 8
    assert ledger.release({100: 8}) == 0


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_to_be_held_equals_the_tensors_note_by_note(case):
    settings = {"optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.5}, "data": {"kind": "digits"}, "learn": True}
    trace = run("gpipe", 2, steps=2, **settings, **CASES[case]).trace
    for rank in range(2):
        said, counted = course_of(trace, rank), tensors_of(trace, rank)
        assert said == counted
        peaks = {part: max(held.bytes_of[part] for held in said) for part in PARTS}
        assert all(peaks[part] for part in ("weights", "gradients", "optimizer state", "activations"))
        assert max(held.total for held in said) == memory_of(trace)[rank].peak_bytes
        assert said[-1].bytes_of["activations"] == 0


@pytest.mark.real
@pytest.mark.parametrize("case", CASES)
def test_a_real_run_holds_the_tensors_that_are_said_to_be_held(pool, case):
    scenario = learning("gpipe", 2, 2, **CASES[case])
    trace = executed(scenario, pool).trace
    for rank in range(2):
        said, counted = course_of(trace, rank), tensors_of(trace, rank)
        assert [held.bytes_of for held in said] == [held.bytes_of for held in counted]
        assert max(held.total for held in said) == memory_of(trace)[rank].peak_bytes > 0
