"""Every collective on a deterministic star takes the time of SCHEMES 13.1, through the whole engine."""

import pytest

from parasim.cluster.hosts import Device
from parasim.cluster.links import Link
from parasim.cluster.star import star
from parasim.learning.optimizers import Sgd
from parasim.program import Buffer, Cast, Collective, Context, Layer, Model, Role
from parasim.simulation.engine import Engine
from parasim.theory.collectives import FORMS, cost
from parasim.trace.table import Trace

BANDWIDTH, LATENCY = 1.25e9, 25e-6
MEMORY_BANDWIDTH = 6e9
ALPHA, BETA = 2 * LATENCY, 1 / BANDWIDTH
GAMMA = 3 / MEMORY_BANDWIDTH  # a reduction reads two operands and writes one
ELEMENTS = 1441440  # 2^5 3^2 5 7 11 13: every piece up to 16 ranks is as large as the others
MODEL = Model("m", (Layer("l", 4, 1.0, 1.0, 1.0, 1, 1, 1),))


def run(kind, algorithm, ranks, elements, shape=None):
    def program(me):
        buffer = None if kind == "barrier" else Buffer("b", elements)
        yield from Collective(kind, me.group("worker"), buffer, algorithm, shape=shape)

    cast = Cast((Role("worker", ranks, program),))
    contexts = [
        Context(**cast.seat(actor.rank), options=None, model=MODEL, batch_size=1, steps=1, seed=0, optimizer=Sgd())
        for actor in cast
    ]
    cluster = star(
        ranks,
        Link("l", BANDWIDTH, LATENCY),
        Link("o", 1e12, 0.0),
        1,
        Device("d", 1e18, memory_bandwidth=MEMORY_BANDWIDTH),
    )
    trace = Trace()
    Engine(cluster, range(ranks), cast, contexts, trace).run()
    return trace


def cases():
    for (kind, algorithm), ranks in ((form, n) for form in FORMS for n in range(2, 18)):
        if kind == "barrier" or algorithm == "double_tree" or (kind, algorithm) == ("reduce", "binomial"):
            continue  # headers take no time here; an estimate; not an operation by itself
        elements = ELEMENTS * 17 if ranks == 17 else ELEMENTS
        shapes = [None]
        if algorithm.startswith("hierarchical"):
            shapes = [(q, ranks // q) for q in range(1, ranks + 1) if ranks % q == 0]
        for shape in shapes:
            yield kind, algorithm, ranks, elements, shape


@pytest.mark.parametrize("form", sorted({(kind, algorithm) for kind, algorithm, *_ in cases()}))
def test_time_bytes_and_messages_are_those_of_theory(form):
    checked = 0
    for kind, algorithm, ranks, elements, shape in cases():
        if (kind, algorithm) != form:
            continue
        expected = cost(kind, algorithm, ranks, 4 * elements, ALPHA, BETA, GAMMA, shape=shape)
        if not expected.exact:
            continue
        checked += 1
        trace = run(kind, algorithm, ranks, elements, shape)
        seconds = max(row.t_end for row in trace)
        joins = [row for row in trace if row.op == "compute" and row.label == "join"]
        seconds -= max((row.t_end - row.t_start for row in joins), default=0.0)  # theory does not charge for it
        assert seconds == pytest.approx(expected.seconds, rel=1e-9), (ranks, shape)
        sends = [row for row in trace if row.op == "send"]
        assert sum(row.nbytes for row in sends) / ranks == pytest.approx(expected.bytes_sent_mean, rel=1e-12)
        assert len(sends) / ranks == pytest.approx(expected.messages_sent_mean, rel=1e-12)
        by_rank = [sum(row.nbytes for row in sends if row.rank == rank) for rank in range(ranks)]
        assert max(by_rank) == pytest.approx(expected.bytes_sent_max, rel=1e-12)
    assert checked >= 16


@pytest.mark.parametrize("ranks", range(2, 18))
def test_the_double_binary_tree_is_bracketed(ranks):
    """Its closed form is an estimate: never faster than the bandwidth and latency bounds, and of the form's order."""
    expected = cost("all_reduce", "double_tree", ranks, 4 * ELEMENTS, ALPHA, BETA, 0.0)
    seconds = max(row.t_end for row in run("all_reduce", "double_tree", ranks, ELEMENTS))
    assert seconds > 2 * (ranks - 1) / ranks * 4 * ELEMENTS * BETA
    assert 0.4 < seconds / expected.seconds < 1.6
