"""Pipeline orders: as they are drawn, as torch.distributed.pipelining has them, and what they have in flight."""

import itertools

import pytest

from parasim.schedules import interleaved as interleaving
from parasim.schedules import one_f_one_b as alternating
from parasim.schedules import zero_bubble
from parasim.schedules.gpipe import gpipe
from parasim.schedules.interleaved import interleaved
from parasim.schedules.one_f_one_b import fill, fill_replicated, one_f_one_b
from parasim.schedules.zero_bubble import zb_h1
from parasim.theory.pipelines import flush, in_flight
from tests.pipelines import drawing, drawn, most_in_flight, starts

SIZES = [(1, 1), (1, 3), (2, 1), (2, 4), (3, 2), (4, 4), (4, 9), (5, 12)]


def all_1f1b(stages, micros):
    return [list(one_f_one_b(fill(k, stages), micros)) for k in range(stages)]


def all_interleaved(stages, micros, chunks):
    return [list(interleaved(k, stages, micros, chunks)) for k in range(stages)]


def all_zb_h1(stages, micros):
    return [list(zb_h1(k, stages, micros)) for k in range(stages)]


@pytest.mark.parametrize(
    ("module", "orders"),
    [(alternating, all_1f1b(4, 6)), (interleaving, all_interleaved(2, 4, 2)), (zero_bubble, all_zb_h1(4, 6))],
    ids=["1F1B", "interleaved", "ZB-H1"],
)
def test_schedules_are_as_they_are_drawn(module, orders):
    assert drawing(orders) == drawn(module)


# torch's own orders --------------------------------------------------------------------------------------------------
def torch_orders(schedule, stages, micros, chunks=1):
    """Orders of a schedule class of torch; it asks its stages only who they are."""
    from torch.distributed.pipelining import schedules
    from torch.distributed.pipelining.stage import _PipelineStageBase

    class Stage(_PipelineStageBase):
        def __init__(self, index):  # torch's own set-up wants a module and a process group
            self.stage_index, self.num_stages = index, stages * chunks
            self.group_size, self.group_rank, self.group = stages, 0, None
            self.submod = None
            self.stage_index_to_group_rank = {i: i % stages for i in range(stages * chunks)}

        def __getattr__(self, name):
            raise AttributeError(name)

        _prepare_forward_infra = _prepare_backward_infra = _create_grad_recv_info = None

    Stage.__abstractmethods__ = frozenset()
    own = [Stage(chunk * stages) for chunk in range(chunks)]
    made = getattr(schedules, schedule)
    single = issubclass(made, schedules.PipelineScheduleSingle)
    built = made(own[0] if single else own, micros)
    ways = {"F": "forward", "B": "backward", "I": "inputs", "W": "weights"}
    return [
        [
            (ways[action.computation_type.value], action.stage_index // stages, action.microbatch_index)
            for action in built.pipeline_order[rank]
            if action is not None and action.computation_type.value in ways
        ]
        for rank in range(stages)
    ]


def with_chunk(orders):
    return [[(way, 0, micro) for way, micro in order] for order in orders]


@pytest.mark.parametrize(("stages", "micros"), [(2, 2), (2, 4), (3, 7), (4, 4), (4, 9)])
def test_1f1b_is_torchs(stages, micros):
    *theirs, last = torch_orders("Schedule1F1B", stages, micros)
    shifted = [(way, chunk, micro - (way == "forward")) for way, chunk, micro in last]  # it counts these from 1
    assert with_chunk(all_1f1b(stages, micros)) == [*theirs, shifted]


@pytest.mark.parametrize(("stages", "micros"), [(2, 2), (2, 4), (4, 4), (4, 8)])
def test_zb_h1_is_torchs_of_one_chunk(stages, micros):
    assert with_chunk(all_zb_h1(stages, micros)) == torch_orders("ScheduleInterleavedZeroBubble", stages, micros)


@pytest.mark.parametrize(("stages", "micros"), [(2, 4), (4, 4)])
def test_gpipe_is_torchs_but_for_the_order_of_equal_backward_passes(stages, micros):
    theirs = torch_orders("ScheduleGPipe", stages, micros)
    for order in theirs:
        (ours,) = with_chunk([gpipe(micros)])
        assert order[:micros] == ours[:micros] == [("forward", 0, micro) for micro in range(micros)]
        assert sorted(order[micros:]) == sorted(ours[micros:])


@pytest.mark.parametrize(("stages", "micros", "chunks"), [(2, 4, 2), (2, 6, 3), (4, 8, 2), (4, 12, 3)])
def test_interleaved_is_torchs(stages, micros, chunks):
    assert all_interleaved(stages, micros, chunks) == torch_orders("ScheduleInterleaved1F1B", stages, micros, chunks)


# what they cost ------------------------------------------------------------------------------------------------------
def length(orders, seconds):
    return max(begin + seconds[p[0]] for begun in starts(orders, seconds) for p, begin in begun.items())


@pytest.mark.parametrize(("stages", "micros"), SIZES)
@pytest.mark.parametrize("backward", [1, 2, 3])
def test_1f1b_takes_as_long_as_gpipe_with_fewer_in_flight(stages, micros, backward):
    orders, seconds = all_1f1b(stages, micros), {"forward": 1, "backward": backward}
    assert length(orders, seconds) == flush(stages, micros, 1, backward).seconds
    assert length([list(gpipe(micros))] * stages, seconds) == flush(stages, micros, 1, backward).seconds
    for k, order in enumerate(orders):
        assert most_in_flight(order) == min(stages - k, micros) == in_flight("1f1b", stages, k, micros)


def test_in_flight_of_four_stages_is_4_3_2_1():
    assert [most_in_flight(order) for order in all_1f1b(4, 8)] == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("stages", "micros", "chunks"), [(2, 2, 2), (2, 8, 2), (3, 6, 3), (4, 8, 2), (4, 4, 2), (4, 16, 3)]
)
def test_interleavings_bubble_and_chunks_in_flight(stages, micros, chunks):
    """(K-1)/(vM) of the ideal time, 2(K-1-k) + (v-1)K + 1 chunks."""
    orders = all_interleaved(stages, micros, chunks)
    took = length(orders, {"forward": 1, "backward": 2})
    assert took / (3 * micros * chunks) - 1 == pytest.approx((stages - 1) / (chunks * micros), rel=1e-12)
    for k, order in enumerate(orders):
        assert most_in_flight(order) == in_flight("interleaved", stages, k, micros, chunks)


@pytest.mark.parametrize(("stages", "micros"), [(2, 2), (2, 5), (3, 6), (4, 4), (4, 8), (6, 12)])
def test_zb_h1_leaves_a_third_of_1f1bs_bubble_and_holds_no_more_than_its_first_stage(stages, micros):
    took = length(all_zb_h1(stages, micros), {"forward": 1, "inputs": 1, "weights": 1})
    assert took == 3 * micros + (stages - 1)
    assert length(all_1f1b(stages, micros), {"forward": 1, "backward": 2}) == 3 * micros + 3 * (stages - 1)
    for order in all_zb_h1(stages, micros):
        assert most_in_flight(order, "weights") == min(stages, micros)


def test_every_pass_of_every_micro_batch_is_there_once():
    for stages, micros in SIZES:
        for order in (*all_1f1b(stages, micros), *all_zb_h1(stages, micros)):
            assert len(set(order)) == len(order) == micros * len({way for way, _ in order})
    for order in all_interleaved(3, 6, 2):
        assert set(order) == set(itertools.product(("forward", "backward"), range(2), range(6)))
        assert len(order) == 24


def test_interleaving_wants_whole_groups():
    with pytest.raises(ValueError, match="5 micro-batches are no multiple of 2 stages"):
        list(interleaved(0, 2, 5, 2))


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [([1, 1, 1, 1], [3, 2, 1, 0]), ([2, 1], [1, 0]), ([3, 1], [1, 0]), ([1, 2], [2, 0]), ([4], [0])],
)
def test_warm_up_of_replicated_stages(replicas, expected):
    """floor((R - 1 - replicas of earlier stages) / r_k); plus one it is the NOAM of the paper at the input stage."""
    found = [fill_replicated(stage, replicas) for stage in range(len(replicas))]
    assert found == expected
    assert found[0] + 1 == -(-sum(replicas) // replicas[0])
