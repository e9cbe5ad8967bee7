"""Closed forms against the simulator, on clusters without noise or contention."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim import closed_form
from tests.schemes_setup import make, steady

ALL_REDUCES = (
    *("ring", "binomial", "recursive_doubling", "rabenseifner"),
    *("torus", "hierarchical", "hierarchical_leader", "naive", "direct"),
)
LAYERS = {  # 2520 is the least common multiple of 2 to 9: every algorithm cuts it evenly
    "kind": "layers",
    "layers": [{"parameters": 2520, "forward_flops": 5040.0, "output_elements": 32, "repeat": 4}],
}
RULES = ({"kind": "sgd", "lr": 0.1}, {"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adam"})


def traffic_is_met(form, met):
    assert met[1] == pytest.approx(form.bytes_sent_per_worker_per_step, rel=1e-12)
    assert met[2] == pytest.approx(form.messages_sent_per_worker_per_step, rel=1e-12)


def meets(kind, hosts, *, steps=1, **settings_):
    """The form is exact, and the simulator meets it."""
    form, met = closed_form(make(kind, hosts, **settings_)), steady(kind, hosts, steps=steps, **settings_)
    assert form.exact
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    traffic_is_met(form, met)


def ratio_of_time(kind, hosts, *, steps, **settings_):
    """The simulator's time over that of the form."""
    form = closed_form(make(kind, hosts, **settings_))
    return steady(kind, hosts, steps=steps, **settings_)[0] / form.seconds_per_step


def ratio(kind, hosts, *, steps, **settings_):
    """The same of a form that is no more than an estimate. Traffic is met all the same."""
    form, met = closed_form(make(kind, hosts, **settings_)), steady(kind, hosts, steps=steps, **settings_)
    assert not form.exact
    traffic_is_met(form, met)
    return met[0] / form.seconds_per_step


# sequential and all-reduce -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", RULES)
def test_sequential(rule):
    meets("sequential", 1, optimizer=rule, launch=1e-6)


def shaped(algorithm, workers):
    in_nodes = algorithm.startswith("hierarchical")
    return {"rows": next(rows for rows in (2, 3, 1) if workers % rows == 0)} if in_nodes else {}


@pytest.mark.parametrize("workers", range(2, 10))
@pytest.mark.parametrize("algorithm", ALL_REDUCES)
def test_allreduce_with_one_bucket_is_exact(algorithm, workers):
    meets("allreduce", workers, model=LAYERS, algorithm=algorithm, **shaped(algorithm, workers))


@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_allreduce_is_exact_for_random_clusters_and_models(data):
    algorithm, workers = data.draw(st.sampled_from(ALL_REDUCES)), data.draw(st.integers(1, 9))
    depth, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    layer = {"parameters": 2520 * width, "forward_flops": data.draw(st.floats(1, 1e6)), "output_elements": 8}
    meets(
        "allreduce",
        workers,
        model={"kind": "layers", "layers": [{**layer, "repeat": depth}]},
        algorithm=algorithm,
        overlap=data.draw(st.booleans()),
        batch=data.draw(st.integers(1, 300)),
        latency=data.draw(st.floats(1e-9, 1e-3)),
        bandwidth=data.draw(st.floats(1e6, 1e11)),
        memory_bandwidth=data.draw(st.floats(1e8, 4e9)),  # more, and momentum is bound by FLOP: forms count it unscaled
        optimizer=data.draw(st.sampled_from(RULES)),
        **shaped(algorithm, workers),
    )


@pytest.mark.parametrize("algorithm", ["ring", "rabenseifner", "binomial"])
@pytest.mark.parametrize("workers", [3, 8])
def test_overlapped_buckets_are_exact_with_a_core_for_reductions(algorithm, workers):
    """With one core, reductions slow the backward pass down, by as much as they take at most."""
    options = {"model": LAYERS, "algorithm": algorithm, "bucket_bytes": 4 * 2520}
    meets("allreduce", workers, cores=2, **options)
    assert 1 < ratio("allreduce", workers, steps=1, cores=1, **options) < 1.05


@pytest.mark.parametrize("workers", [2, 5, 8])
def test_double_tree_takes_no_longer_than_its_form(workers):
    """The form allows every round for the busiest rank's four chunks; first and last rounds of a pipeline have less."""
    assert 0.4 < ratio("allreduce", workers, steps=1, model=LAYERS, algorithm="double_tree") < 1


def test_forms_of_allreduce_that_are_not_exact_say_so():
    """Kernels that cost something to start, pieces of unequal length: both take longer, by little."""
    assert 1 < ratio("allreduce", 4, steps=1, model=LAYERS, launch=1e-6) < 1.01
    odd = {"kind": "layers", "layers": [{"parameters": 2521, "forward_flops": 5040.0, "output_elements": 32}]}
    assert 1 < ratio("allreduce", 4, steps=1, model=odd) < 1.01
    assert closed_form(make("allreduce", 4, algorithm="native")) is None


# Downpour ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("servers", [1, 4])
@pytest.mark.parametrize(("n_push", "n_fetch"), [(1, 1), (1, 3), (2, 2), (2, 4)])
def test_downpour_with_one_worker_is_exact(service, servers, n_push, n_fetch):
    options = {"workers": 1, "servers": servers, "service": service, "n_push": n_push, "n_fetch": n_fetch}
    for rule in RULES if (n_push, n_fetch) == (1, 1) else RULES[:1]:
        meets("downpour", 1 + servers, steps=math.lcm(n_push, n_fetch), launch=1e-6, optimizer=rule, **options)


@pytest.mark.parametrize("service", ["serial", "concurrent"])
def test_downpour_that_fetches_alone(service):
    """The server's copy for such a fetch is not in the form: serial service makes none."""
    options = {"workers": 1, "service": service, "n_push": 4, "n_fetch": 1}
    above = ratio("downpour", 2, steps=4, **options) - 1
    assert above == pytest.approx(0, abs=1e-9) if service == "serial" else 0 < above < 0.05


@pytest.mark.parametrize("bandwidth", [1e6, 1e7, 1e8])
@pytest.mark.parametrize(("workers", "servers"), [(2, 1), (5, 2), (8, 4)])
def test_downpour_with_serial_service_settles_at_its_form(workers, servers, bandwidth):
    """Workers queue up once and are then served in turn, without gaps if the servers are the bottleneck."""
    options = {"workers": workers, "servers": servers, "service": "serial", "bandwidth": bandwidth}
    assert ratio("downpour", workers + servers, steps=16, **options) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("bandwidth", [1e6, 1e7, 1e8])
@pytest.mark.parametrize(("workers", "servers"), [(2, 1), (4, 2), (8, 4)])
def test_downpour_with_concurrent_service_is_bound_by_its_form(workers, servers, bandwidth):
    """Below: links are never idle. Above: all workers come at once and go in step, first in, then out."""
    options = {"workers": workers, "servers": servers, "service": "concurrent", "bandwidth": bandwidth}
    scenario = make("downpour", workers + servers, **options)
    form, alone = closed_form(scenario), closed_form(make("downpour", 1 + servers, **{**options, "workers": 1}))
    nbytes = scenario.workload.model.whole.nbytes
    crowd = max(1, workers / servers) - 1
    worst = alone.seconds_per_step + 2 * crowd * nbytes / bandwidth + workers * 5 * nbytes / servers / 1e9
    seconds = ratio("downpour", workers + servers, steps=16, **options) * form.seconds_per_step
    assert form.seconds_per_step * (1 - 1e-9) < seconds < worst


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize(("kind", "options"), [("downpour", {"n_fetch": 4}), ("ssp", {"slack": 3})])
def test_busy_servers_copy_only_what_is_fetched(kind, options, service):
    """Three of four pushes are applied alone: with Adam the servers' updates are all that there is to wait for."""
    options = {**options, "workers": 5, "servers": 2, "service": service, "optimizer": {"kind": "adam"}, "batch": 1}
    assert 1 <= ratio_of_time(kind, 7, steps=64, bandwidth=1e9, **options) < 1.04


@pytest.mark.parametrize("kind", ["downpour", "k_async", "k_batch_async", "easgd"])
def test_shards_that_differ_in_size_have_no_bound(kind):
    """A server that is done sooner answers while another is still sent its piece: 8 % less time than of equal ones."""
    odd = {"kind": "layers", "layers": [{"parameters": 101, "forward_flops": 10.0, "output_elements": 32, "repeat": 3}]}
    meanings = [closed_form(make(kind, 5, workers=2, servers=n, model=odd)).meaning for n in (1, 2, 3)]
    assert meanings == ["lower bound", "estimate", "lower bound"]
    if kind == "downpour":
        slow = {"bandwidth": 1e6, "launch": 1e-6, "latency": 0.0, "batch": 1, "cores": 2, "service": "serial"}
        assert ratio_of_time(kind, 5, steps=48, workers=2, servers=2, model=odd, **slow) < 0.95


# AD-PSGD -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("bandwidth", [1e6, 1e8, 1e9])
def test_adpsgd_with_one_passive_worker_meets_its_form(workers, bandwidth):
    """Nobody has a choice of partners, so the passive worker is asked in turn; a second core does the averaging."""
    met = ratio("adpsgd", workers, steps=8, bandwidth=bandwidth, cores=2)
    assert met == pytest.approx(1, rel=1e-9)
    assert met <= ratio("adpsgd", workers, steps=8, bandwidth=bandwidth, cores=1) < 1.6


@pytest.mark.parametrize("workers", [4, 5, 8])
@pytest.mark.parametrize("bandwidth", [1e7, 1e9])
def test_adpsgd_with_choice_of_partners(workers, bandwidth):
    """Two active workers that choose the same passive one wait for each other: up to all of them, on average few."""
    assert 1 - 1e-9 < ratio("adpsgd", workers, steps=16, bandwidth=bandwidth, cores=2) < 1.6


# GPipe ---------------------------------------------------------------------------------------------------------------
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_gpipe_is_a_flow_line(data):
    """Balanced or not, with slow links or not: exact where the form says so, and never faster."""
    stages, micros = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([1, 2, 4, 8]))
    layer = st.fixed_dictionaries(
        {
            "parameters": st.sampled_from([0, 100, 4000, 20000]),
            "forward_flops": st.sampled_from([1e2, 1e3, 1e4, 5e4]),
            "output_elements": st.sampled_from([4, 32, 100]),
        }
    )
    layers = data.draw(st.lists(layer, min_size=stages, max_size=stages + 3))
    if data.draw(st.booleans()):
        layers = [{"parameters": 1000, "forward_flops": 5e3, "output_elements": 32, "repeat": 2 * stages}]
    options = {
        "model": {"kind": "layers", "layers": layers, "needs_input_gradient": data.draw(st.booleans())},
        "micro_batches": micros,
        "batch": micros * data.draw(st.sampled_from([1, 4, 16])),
        "recompute": data.draw(st.booleans()),
        "bandwidth": data.draw(st.sampled_from([1e6, 1e7, 1e8, 1e18])),
        "latency": data.draw(st.sampled_from([0.0, 1e-5, 1e-4])),
        "launch": data.draw(st.sampled_from([0.0, 1e-6])),
    }
    if closed_form(make("gpipe", stages, **options)).exact:
        meets("gpipe", stages, **options)
    else:
        assert ratio("gpipe", stages, steps=1, **options) > 1 - 1e-9


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("bandwidth", [1e6, 1e8])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_gpipe_with_balanced_stages_is_exact(stages, bandwidth, recompute):
    meets("gpipe", stages, micro_batches=8, bandwidth=bandwidth, recompute=recompute, launch=1e-6)
