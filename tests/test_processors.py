"""Processor sharing: hand-worked timelines, and an exact rational reference."""

from fractions import Fraction

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from parasim.simulation.processors import Processor


def run(cores: int, jobs: list[tuple[float, float]], contention: tuple[float, ...] = ()) -> tuple[list[float], int]:
    """End of each (start, seconds) job, and the events that took, less one for each start."""
    env = simpy.Environment()
    processor = Processor(env, cores, contention)
    ends = [-1.0] * len(jobs)

    def start(number: int) -> None:
        processor.start(jobs[number][1], lambda: ends.__setitem__(number, env.now))

    for number, (at, _) in enumerate(jobs):
        env.timeout(at).callbacks.append(lambda _, number=number: start(number))
    events = 0
    while env.peek() < float("inf"):
        env.step()
        events += 1
    assert processor.running == 0
    return ends, events - len(jobs)


def reference(cores: int, jobs: list[tuple[float, float]], contention: tuple[float, ...] = (1.0,)) -> list[Fraction]:
    """The same in rational numbers, from event to event."""
    left = {number: Fraction(seconds) for number, (_, seconds) in enumerate(jobs)}
    ends: dict[int, Fraction] = {}
    now = Fraction(0)
    while left:
        running = [number for number in left if jobs[number][0] <= now]
        coming = [Fraction(jobs[number][0]) for number in left if jobs[number][0] > now]
        rate = min(Fraction(1), Fraction(cores, max(1, len(running))))
        at_work = max(1, min(len(running), cores, len(contention)))
        rate /= Fraction(contention[at_work - 1])
        step = min([left[number] / rate for number in running] + [at - now for at in coming])
        now += step
        for number in running:
            left[number] -= step * rate
            if left[number] == 0:
                ends[number] = now
                del left[number]
    return [ends[number] for number in range(len(jobs))]


def test_three_jobs_on_two_cores() -> None:
    # Each runs at 2/3: 2 s of work end at 3; then the two others, 4 s of work less 2, run at full speed.
    assert run(2, [(0, 2.0), (0, 4.0), (0, 4.0)])[0] == pytest.approx([3, 5, 5], rel=1e-15)


def test_arrival_in_between_slows_down_and_departure_speeds_up() -> None:
    # One core: alone for 1 s, halves until the second has done 1 s at 3, then the first has 2 s left.
    assert run(1, [(0, 4.0), (1, 1.0)])[0] == pytest.approx([5, 3], rel=1e-15)


def test_jobs_within_the_cores_are_exact_and_cost_one_event_each() -> None:
    jobs = [(0.1, 0.7), (0.3, 0.123456789), (0.35, 1e-9), (5.7, 0.3)]
    ends, events = run(3, jobs)
    assert ends == [at + seconds for at, seconds in jobs]
    assert events == len(jobs)


def test_exact_again_after_contention() -> None:
    jobs = [(0.1, 0.7), (0.2, 0.7), (3.3, 0.1), (1000.7, 0.9)]
    assert run(1, jobs)[0][2:] == [3.3 + 0.1, 1000.7 + 0.9]


def test_equal_jobs_end_together_in_order_of_start() -> None:
    env = simpy.Environment()
    processor = Processor(env, 2)
    log: list[tuple[float, int]] = []
    for number in range(5):
        processor.start(1.0, lambda number=number: log.append((env.now, number)))
    env.run()
    assert log == [(2.5, number) for number in range(5)]


def test_an_empty_job_ends_now_but_not_within_start() -> None:
    env = simpy.Environment()
    log: list[float] = []
    Processor(env, 1).start(0.0, lambda: log.append(env.now))
    assert log == []
    env.run()
    assert log == [0.0]


def test_a_job_may_start_the_next() -> None:
    env = simpy.Environment()
    processor = Processor(env, 1)
    ends: list[float] = []

    def again() -> None:
        ends.append(env.now)
        if len(ends) < 3:
            processor.start(0.5, again)

    processor.start(0.5, again)
    env.run()
    assert ends == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"got {seconds} seconds"):
        Processor(simpy.Environment(), 1).start(seconds, lambda: None)


times = st.integers(0, 40).map(lambda n: n / 8) | st.floats(0, 5)


@given(st.integers(1, 4), st.lists(st.tuples(times, times.filter(lambda s: s > 1e-6)), min_size=1, max_size=10))
def test_as_the_rational_reference(cores: int, jobs: list[tuple[float, float]]) -> None:
    ends, events = run(cores, jobs)
    assert ends == pytest.approx([float(end) for end in reference(cores, jobs)], rel=1e-12)
    assert events <= 3 * len(jobs)


def test_two_cores_at_work_slow_each_other_down() -> None:
    # Together at 1 / 1.25: the shorter has 2 s of work and ends at 2.5; the longer then has 2 s left, alone.
    assert run(2, [(0, 2.0), (0, 4.0)], (1.0, 1.25))[0] == pytest.approx([2.5, 4.5], rel=1e-15)


def test_jobs_beyond_the_cores_share_them_and_slow_down_no_further() -> None:
    # Four jobs on two cores: each at half of 1 / 1.25.
    assert run(2, [(0, 1.0)] * 4, (1.0, 1.25))[0] == pytest.approx([2.5] * 4, rel=1e-15)
    assert run(2, [(0, 1.0)] * 4, (1.0, 1.25, 9.0))[0] == pytest.approx([2.5] * 4, rel=1e-15)


def test_a_table_shorter_than_the_cores_holds_for_the_rest() -> None:
    assert run(4, [(0, 1.0)] * 4, (1.0, 1.5))[0] == pytest.approx([1.5] * 4, rel=1e-15)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(times, times.filter(lambda s: s > 1e-6)), min_size=1, max_size=8),
    st.lists(st.floats(0.8, 3.0), max_size=4),
)
def test_contention_as_the_rational_reference(cores: int, jobs: list[tuple[float, float]], slower: list[float]) -> None:
    table = (1.0, *slower)
    ends, _ = run(cores, jobs, table)
    assert ends == pytest.approx([float(end) for end in reference(cores, jobs, table)], rel=1e-12)


@given(st.integers(1, 4), st.lists(st.tuples(times, times), min_size=1, max_size=8))
def test_no_contention_changes_no_bit(cores: int, jobs: list[tuple[float, float]]) -> None:
    assert run(cores, jobs, (1.0,)) == run(cores, jobs)
