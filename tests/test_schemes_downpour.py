"""Downpour SGD: what is pushed is what is applied, the law of staleness, shards that know nothing of each other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim import closed_form
from parasim.learning.build import pin_threads
from parasim.program import Context
from parasim.schemes.downpour import Downpour
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, initial_weights, make, run, steady, updates_of, weights
from tests.test_scenarios import golden

NOISES = (
    None,
    {"kind": "lognormal", "sigma": 0.5},
    {"kind": "gamma", "shape": 1.0},
    {"kind": "mixture", "probability": 0.1, "slowdown": 10.0},
)


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize(("n_push", "n_fetch"), [(1, 1), (1, 2), (2, 1)])
def test_pushed_deltas_add_up_to_what_the_servers_hold(monkeypatch, service, n_push, n_fetch):
    pin_threads()
    pushed = {}
    update = Context.update

    def spy(self, replica, gradient, **rest):
        pushed.setdefault(self.rank, []).append(gradient.values.clone())
        return (yield from update(self, replica, gradient, **rest))

    monkeypatch.setattr(Context, "update", spy)
    model, _ = EXACT_MODELS["one layer"]
    options = {"workers": 3, "servers": 2, "service": service, "n_push": n_push, "n_fetch": n_fetch}
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "batch": 8, "learn": True, "steps": 2}
    result = run("downpour", 5, **options, **work, speeds={1: 0.4})
    deltas = torch.cat([torch.stack(pushed[rank]).sum(0) for rank in (3, 4)])
    assert [len(pushed[rank]) for rank in (3, 4)] == [6 // n_push] * 2
    start = initial_weights(make("downpour", 5, **options, **work))
    assert torch.equal(weights(result, range(3, 5)), start - 0.125 * deltas)
    assert bool(deltas.any())


# staleness -----------------------------------------------------------------------------------------------------------
def window(applied, workers, steps):
    """Sum of staleness, and updates, until the first worker has made its last push.

    The law presumes that all workers go on, so what the others compute by then counts with its staleness so far.
    """
    total, done, read = 0, dict.fromkeys(range(workers), 0), {}
    for number, (worker, version_read, version_applied) in enumerate(applied):
        assert version_applied == number
        read.setdefault(worker, version_read)
        assert version_read == read[worker]  # what the fetch that came with its last push brought
        read[worker] = version_applied + 1
        total += version_applied - version_read
        done[worker] += 1
        if done[worker] == steps:
            first_read = {late: version for late, version, _ in reversed(applied)}
            going_on = [other for other in range(workers) if other != worker]
            open_ends = sum(number + 1 - read.get(other, first_read[other]) for other in going_on)
            return total + open_ends, number + 1
    raise AssertionError("no worker came to its end")


@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_mean_staleness_is_one_less_than_the_workers_whatever_their_speeds(data):
    workers, servers = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    speeds = data.draw(st.dictionaries(st.integers(0, workers - 1), st.sampled_from([0.1, 0.37, 0.9, 2.5, 8.0])))
    hosts = workers + data.draw(st.sampled_from([0, servers]))  # servers beside workers, or on hosts of their own
    steps = 12
    result = run(
        "downpour",
        hosts,
        workers=workers,
        servers=servers,
        steps=steps,
        speeds=speeds,
        service=data.draw(st.sampled_from(["serial", "concurrent"])),
        noise=data.draw(st.sampled_from(NOISES)),
        bandwidth=data.draw(st.sampled_from([1e6, 1e8, 1e12])),
        seed=data.draw(st.integers(0, 99)),
    )
    for rank in range(workers, workers + servers):
        total, updates = window(updates_of(result, rank), workers, steps)
        assert abs(total - (workers - 1) * updates) <= workers**2


def test_staleness_of_unequal_workers_worked_by_hand():
    """Periods 1 and 2.6, all else for nothing, ten gradients each.

    Worker 0 pushes at 1, 2, ..., 10. Worker 1 pushes at 2.6, 5.2, 7.8, 10.4, ...: between its pushes lie the pushes
    {1, 2}, {3, 4, 5}, {6, 7}, {8, 9, 10} of worker 0, then none. Of worker 0's gradients the third (2 to 3), the
    sixth (5 to 6) and the eighth (7 to 8) meet one push of worker 1.
    """
    cheap = {"batch": 4096, "bandwidth": 1e15, "latency": 0.0, "memory_bandwidth": 1e15}
    result = run("downpour", 3, workers=2, steps=10, speeds={1: 1 / 2.6}, **cheap)
    staleness = {0: [], 1: []}
    for worker, read, applied in updates_of(result, 2):
        staleness[worker].append(applied - read)
    assert staleness[0] == [0, 0, 1, 0, 0, 1, 0, 1, 0, 0]
    assert staleness[1] == [2, 3, 2, 3, 0, 0, 0, 0, 0, 0]
    assert result.summary["staleness"]["mean"] == 13 / 20


@pytest.mark.parametrize(
    ("n_push", "n_fetch", "expected"),
    [
        (1, 1, [0] * 8),
        (1, 4, [0, 1, 2, 3, 0, 1, 2, 3]),  # own pushes since the last fetch
        (2, 4, [0, 1, 0, 1]),
        (2, 2, [0] * 4),
        (4, 2, [0] * 2),
        (3, 1, [0] * 3),  # the last two gradients are pushed with the last step
    ],
)
def test_own_steps_between_fetches_count_as_staleness(n_push, n_fetch, expected):
    result = run("downpour", 3, workers=1, servers=2, steps=8, n_push=n_push, n_fetch=n_fetch)
    for rank in (1, 2):
        assert [applied - read for _, read, applied in updates_of(result, rank)] == expected


# messages ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize(("n_push", "n_fetch"), [(1, 1), (1, 2), (2, 1), (2, 4), (4, 2), (2, 3)])
def test_bytes_and_messages_of_pushes_and_fetches(service, n_push, n_fetch):
    steps, workers, servers, nbytes = 12, 3, 2, 4 * 4096
    options = {"workers": workers, "servers": servers, "n_push": n_push, "n_fetch": n_fetch, "service": service}
    summary = run("downpour", 5, steps=steps, **options).summary
    assert summary["bytes_sent_per_worker_per_step"] == nbytes / n_push
    assert summary["messages_sent_per_worker_per_step"] == servers / n_push
    fetches = 1 + (steps - 1) // n_fetch  # one before the first step, none after the last
    assert summary["bytes_received_per_worker_per_step"] == nbytes * fetches / steps
    assert summary["messages_received_per_worker_per_step"] == servers * fetches / steps
    joint = (steps - 1) // math.lcm(n_push, n_fetch)
    assert summary["control_messages_per_worker_per_step"] == servers * (fetches - joint) / steps
    server = summary["roles"]["server"]
    assert server["bytes_received_per_step"] == pytest.approx(workers / servers * nbytes / n_push)
    assert server["updates"] == workers * steps // n_push


def test_shards_apply_pushes_in_orders_of_their_own():
    """Server i sits beside worker i, whose way to it is short: it comes there before a push that left earlier."""
    result = run("downpour", 3, workers=3, servers=3, steps=10, noise=NOISES[1])
    orders = [[worker for worker, _, _ in updates_of(result, rank)] for rank in (3, 4, 5)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("service", ["serial", "concurrent"])
def test_shards_differ_by_the_pushes_under_way_at_most(service):
    """Each worker has one push under way: between two shards there is never more than one update of each (S9.7)."""
    workers, servers = 4, 3
    result = run("downpour", 7, workers=workers, servers=servers, steps=8, noise=NOISES[1], service=service)
    done = {rank: dict.fromkeys(range(workers), 0) for rank in range(workers, workers + servers)}
    apart = set()
    for row in result.trace:
        if row.label == "applied":
            done[row.rank][row.peer] += 1
            for worker in range(workers):
                counts = [of[worker] for of in done.values()]
                apart.add(max(counts) - min(counts))
    assert apart == {0, 1}


def test_concurrent_service_is_faster_where_servers_are_the_bottleneck():
    """Serial: one worker at a time, ``N (2 alpha + 2 P beta)`` and updates. Concurrent: all shards' links are full."""
    settings_ = {"workers": 8, "servers": 4, "steps": 12, "bandwidth": 1e7}
    serial, _, _ = steady("downpour", 12, service="serial", **settings_)
    concurrent, _, _ = steady("downpour", 12, service="concurrent", **settings_)
    exchange = 1e-5 * 2 + 4 * 4096 / 1e7
    assert serial == pytest.approx(8 * 2 * exchange, rel=0.01)
    assert 8 / 4 * 4 * 4096 / 1e7 < concurrent < 0.5 * serial


# warm start ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("warm", [1, 3, 20])
def test_one_worker_warms_the_parameters_up_before_the_others_begin(warm, service):
    steps, workers = 8, 3
    options = {"workers": workers, "servers": 2, "steps": steps, "service": service}
    result, at_once = run("downpour", 5, warm_start=warm, **options), run("downpour", 5, **options)
    alone = min(warm, steps)
    for rank in (3, 4):
        applied = updates_of(result, rank)
        assert len(applied) == workers * steps
        assert applied[:alone] == [(0, version, version) for version in range(alone)]
        assert {worker for worker, _, _ in applied[alone : alone + 4]} >= {1, 2}
        assert min(read for worker, read, _ in applied if worker) >= alone
    told, untold = (one.summary["control_messages_per_worker_per_step"] for one in (result, at_once))
    assert told - untold == pytest.approx((workers - 1) / (workers * steps))


# zealous workers -----------------------------------------------------------------------------------------------------
def test_a_zealous_worker_of_an_idle_server_pushes_at_every_step():
    zealous, plain = (run("downpour", 2, workers=1, steps=6, zealous=most) for most in (4, 1))
    assert updates_of(zealous, 1) == updates_of(plain, 1)


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("most", [2, 4])
def test_zealous_workers_accumulate_while_the_server_is_busy(monkeypatch, service, most):
    """At a server that can't keep up pushes are fewer, of at most so many steps; no gradient is lost."""
    steps, workers = 12, 6
    crowded = {"workers": workers, "steps": steps, "bandwidth": 2e6, "service": service}
    plain = run("downpour", workers + 1, **crowded)
    sizes, held, accumulate, commit = [], {}, Context.accumulate, Downpour.commit

    def counted(self, into, other):
        held[self.rank] = held.get(self.rank, 0) + 1
        yield from accumulate(self, into, other)

    def committed(self, me, *rest):
        sizes.append(held.pop(me.rank))
        return (yield from commit(self, me, *rest))

    monkeypatch.setattr(Context, "accumulate", counted)
    monkeypatch.setattr(Downpour, "commit", committed)
    result = run("downpour", workers + 1, zealous=most, **crowded)
    assert sum(sizes) == steps * workers
    assert max(sizes) == most
    assert result.summary["updates"] == len(sizes) < steps * workers
    assert result.summary["seconds"] < plain.summary["seconds"]


def test_zealous_workers_learn_alike_from_accumulated_gradients(monkeypatch):
    """One worker whose every push is put off once computes as with n_push = n_fetch = 2."""
    pin_threads()

    def always(self, me, late):
        yield from ()
        return late == 0

    data = {"data": {"kind": "digits"}, "learn": True, "batch": 8, "steps": 6}
    planned = run("downpour", 2, workers=1, n_push=2, n_fetch=2, **data)
    monkeypatch.setattr(Downpour, "puts_off", always)
    put_off = run("downpour", 2, workers=1, zealous=2, **data)
    assert torch.equal(weights(put_off, range(1, 2)), weights(planned, range(1, 2)))


# threads -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("bandwidth", [1e6, 1e9])
def test_threads_hide_the_exchange_behind_the_gradient(bandwidth, service):
    """One worker: the longer of the two, and two copies; exact."""
    options = {"workers": 1, "servers": 2, "bandwidth": bandwidth, "service": service, "threads": True}
    form, met = closed_form(make("downpour", 3, **options)), steady("downpour", 3, steps=4, **options)
    assert form.exact
    assert met[0] == pytest.approx(form.seconds_per_step, rel=1e-9)
    assert met[1:] == (form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step)
    assert met[0] < steady("downpour", 3, steps=4, **{**options, "threads": False})[0]


@pytest.mark.parametrize("bandwidth", [1e7, 1e12])
@pytest.mark.parametrize("speeds", [{}, {0: 0.3, 2: 2.5}], ids=["equal", "unequal"])
def test_threads_double_the_staleness(speeds, bandwidth):
    """Between the reading of parameters and a push lie two pushes of every other worker and an own one: 2 N - 1."""
    workers, steps = 4, 24
    options = {"workers": workers, "steps": steps, "speeds": speeds, "noise": NOISES[1], "bandwidth": bandwidth}
    applied = updates_of(run("downpour", 5, threads=True, **options), workers)
    done = dict.fromkeys(range(workers), 0)
    for updates, (worker, _, _) in enumerate(applied, 1):  # noqa: B007
        done[worker] += 1
        if done[worker] == steps:
            break
    total = sum(version - read for _, read, version in applied[:updates])
    for worker in range(workers):  # the two gradients of each that are begun
        begun = [read for other, read, _ in applied[updates:] if other == worker][:2]
        total += sum(max(0, updates - read) for read in begun)
    assert abs(total - (2 * workers - 1) * updates) <= workers**2
    form = closed_form(make("downpour", 5, threads=True, **options))
    assert form.staleness_mean == 2 * workers - 1


def test_threads_learn_from_the_parameters_before_the_last_push(monkeypatch):
    """One worker: w_t+1 = w_t - lr g(w_t-1), where w_-1 is w_0."""
    pin_threads()
    seen, found = [], []
    gradient = Context.gradient

    def spy(self, parameters, *rest):
        seen.append(parameters.values.clone())
        computed = yield from gradient(self, parameters, *rest)
        found.append(computed.values.clone())
        return computed

    monkeypatch.setattr(Context, "gradient", spy)
    model, steps = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "batch": 8, "learn": True, "steps": steps}
    result = run("downpour", 2, workers=1, threads=True, **work)
    assert [version - read for _, read, version in updates_of(result, 1)] == [0, 1, 1, 1]
    expected = initial_weights(make("downpour", 2, workers=1, **work))
    assert torch.equal(seen[0], expected)
    for step in range(steps - 1):
        assert torch.equal(seen[step + 1], expected)
        expected = expected - 0.125 * found[step]
    assert torch.equal(weights(result, range(1, 2)), expected - 0.125 * found[-1])


def test_threads_push_and_fetch_at_every_step():
    with pytest.raises(ValueError, match="threads need n_push, n_fetch and zealous 1"):
        make("downpour", 3, threads=True, n_push=2)


# scenarios -----------------------------------------------------------------------------------------------------------
def test_scenario_of_options():
    """What scenarios/schemes/downpour.yaml expects."""
    seconds, sent = (golden("schemes_downpour", key) for key in ("seconds_per_step", "bytes_sent_per_worker_per_step"))
    nbytes = 4 * (64 * 64 + 64 * 64 + 64 * 10)
    bound = 8 * nbytes / 62.5e6
    assert bound < 60 / 59 * seconds["one server"]  # the last step has no fetch
    assert seconds["four servers"] < bound / 2 < seconds["one server"] / 2
    assert sent["every fourth step"] == nbytes / 4
    assert sent["zealous"] < sent["one server"] == nbytes
    assert seconds["zealous"] < seconds["one server"]
    staleness = golden("schemes_downpour", "staleness")
    assert 5 < staleness["one server"]["mean"] < 7


def test_scenario_of_a_period_that_diverges():
    """What scenarios/schemes/downpour_period.yaml expects; 6 pushes of each worker in step would be 2.5**12."""
    losses = golden("schemes_downpour_period", "loss")
    for period in (1, 2):
        assert losses[f"period {period}"]["last"] < 1e-9 * losses[f"period {period}"]["first"]
    assert losses["period 20"]["last"] > 100 * losses["period 20"]["first"]
