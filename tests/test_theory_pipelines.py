"""Bubbles of pipelines against a scheduler of dependencies, and against PyTorch's published orders by count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim.errors import ProgramError
from parasim.theory.pipelines import (
    asynchronous_seconds,
    decoupled_backward_seconds,
    decoupled_forward_and_backward_seconds,
    features_replay_seconds,
    flow_line_seconds,
    flush,
    in_flight,
)


def gpipe_order(stages, stage, micros):
    return [("F", m, 0) for m in range(micros)] + [("B", m, 0) for m in reversed(range(micros))]


def one_f_one_b(stages, stage, micros):
    warm = min(stages - 1 - stage, micros)
    order = [("F", m, 0) for m in range(warm)]
    for m in range(micros - warm):
        order += [("F", warm + m, 0), ("B", m, 0)]
    return order + [("B", m, 0) for m in range(micros - warm, micros)]


def interleaved(stages, stage, micros, chunks):
    """Megatron's order (SCHEMES S28)."""
    size = micros * chunks
    warm = size if micros == stages else min(size, 2 * (stages - 1 - stage) + (chunks - 1) * stages)

    def unit(number, way):
        chunk = number % (stages * chunks) // stages
        micro = number // (stages * chunks) * stages + number % stages
        return (way, micro, chunk if way == "F" else chunks - 1 - chunk)

    order = [unit(i, "F") for i in range(warm)]
    for i in range(size - warm):
        order += [unit(warm + i, "F"), unit(i, "B")]
    return order + [unit(i, "B") for i in range(size - warm, size)]


def executed(orders, forward, backward, chunks=1, link=0.0):
    """Ends of all units when each stage follows its order and waits for what it needs; and most units in flight."""
    stages = len(orders)
    last = stages * chunks - 1
    done, at, free = {}, [0] * stages, [0.0] * stages
    held, most = [0] * stages, [0] * stages
    while any(at[k] < len(orders[k]) for k in range(stages)):
        before = sum(at)
        for k in range(stages):
            while at[k] < len(orders[k]):
                way, micro, chunk = orders[k][at[k]]
                place = chunk * stages + k
                if way == "F":
                    needs = [("F", micro, place - 1)] if place else []
                else:
                    needs = [("B", micro, place + 1)] if place < last else [("F", micro, place)]
                if not all(need in done for need in needs):
                    break
                crossing = link if needs and needs[0][2] != place else 0.0
                ready = max([done[need] + crossing for need in needs], default=0.0)
                free[k] = max(free[k], ready) + (forward if way == "F" else backward) / chunks
                done[way, micro, place] = free[k]
                held[k] += 1 if way == "F" else -1
                most[k] = max(most[k], held[k])
                at[k] += 1
        assert sum(at) > before, "the orders wait for each other"
    return max(free), most


SIZES = [(1, 1), (1, 4), (2, 2), (4, 2), (4, 4), (4, 8), (5, 13)]


@pytest.mark.parametrize(("stages", "micros"), SIZES)
@pytest.mark.parametrize(("order", "name"), [(gpipe_order, "gpipe"), (one_f_one_b, "1f1b")])
def test_gpipe_and_1f1b_have_one_bubble(order, name, stages, micros):
    """1F1B of fewer micro-batches than stages included; in flight they differ."""
    seconds, most = executed([order(stages, k, micros) for k in range(stages)], 1.0, 2.0)
    form = flush(stages, micros, 1.0, 2.0)
    assert form.seconds == pytest.approx(seconds)
    assert form.bubble == pytest.approx((stages - 1) / (micros + stages - 1))
    assert form.bubble_over_ideal == pytest.approx((stages - 1) / micros)
    assert most == [in_flight(name, stages, k, micros) for k in range(stages)]


@pytest.mark.parametrize(("stages", "micros"), [(2, 2), (2, 6), (4, 8), (4, 16)])
@pytest.mark.parametrize("chunks", [2, 3])
def test_interleaving_divides_the_bubble(stages, micros, chunks):
    orders = [interleaved(stages, k, micros, chunks) for k in range(stages)]
    seconds, most = executed(orders, 1.0, 2.0, chunks)
    form = flush(stages, micros, 1.0, 2.0, chunks=chunks)
    assert form.seconds == pytest.approx(seconds)
    assert form.bubble_over_ideal == pytest.approx((stages - 1) / (chunks * micros))
    if micros > stages:
        assert most == [in_flight("interleaved", stages, k, micros, chunks) for k in range(stages)]


@given(st.integers(1, 6), st.integers(1, 12), st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0, 1))
def test_gpipe_with_links_shorter_than_passes(stages, micros, forward, backward, part):
    link = part * min(forward, backward)
    seconds, _ = executed([gpipe_order(stages, k, micros) for k in range(stages)], forward, backward, link=link)
    assert flush(stages, micros, forward, backward, link=link).seconds == pytest.approx(seconds)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=6), st.integers(1, 20))
def test_a_flow_line_is_a_tandem_queue(stations, jobs):
    """Lindley's recursion: each station starts a job when it is free and the job is there."""
    free = [0.0] * len(stations)
    for _ in range(jobs):
        ready = 0.0
        for k, service in enumerate(stations):
            ready = free[k] = max(free[k], ready) + service
    assert flow_line_seconds(stations, jobs) == pytest.approx(free[-1])


@pytest.mark.parametrize("stages", [1, 3, 5])
def test_asynchronous_pipelines_run_at_the_pace_of_the_slowest(stages):
    computing = [1.0 + 0.3 * (k % 3) for k in range(stages)]
    links = [1.45] * (stages - 1)
    line = [value for pair in zip(computing, [*links, 0.0], strict=True) for value in pair]
    far = (flow_line_seconds(line, 2000) - flow_line_seconds(line, 1000)) / 1000
    assert asynchronous_seconds(computing, links) == pytest.approx(far)


@pytest.mark.parametrize(("modules", "ddg", "replay"), [(2, 1.5, 1.2), (3, 1.8, 1.5), (4, 2.0, 1.714)])
def test_decoupled_speedups_of_balanced_modules(modules, ddg, replay):
    """Against F + B = 3 per sample over K modules: 3 / (1 + 2/K) and 3 / (1 + 3/K) (SCHEMES S30, S31), K (S33)."""
    forward, backward = [1 / modules] * modules, [2 / modules] * modules
    assert 3 / decoupled_backward_seconds(forward, backward) == pytest.approx(ddg)
    assert 3 / features_replay_seconds(forward, backward) == pytest.approx(replay, rel=1e-3)
    assert 3 / decoupled_forward_and_backward_seconds(forward, backward) == pytest.approx(modules)
    assert decoupled_forward_and_backward_seconds(forward, backward, 1.0) == pytest.approx(3 / modules + 1)


def test_limits_and_errors():
    assert flush(1, 8, 1.0, 2.0).bubble == 0
    assert flush(4, 10**6, 1.0, 2.0).bubble < 1e-5
    for counts in ((0, 1), (1, 0)):
        with pytest.raises(ProgramError, match="each must be 1 or more"):
            flush(*counts, 1.0, 1.0)
    with pytest.raises(ProgramError, match="6 micro-batches are no multiple of 4 stages"):
        flush(4, 6, 1.0, 1.0, chunks=2)
    with pytest.raises(ProgramError, match="no stage 4 of 4: choose 0 to 3"):
        in_flight("gpipe", 4, 4, 8)
    with pytest.raises(ProgramError, match="no pipeline schedule 'zigzag': choose gpipe, 1f1b or interleaved"):
        in_flight("zigzag", 4, 0, 8)
