"""Sizes of the mini-batch that are tried while the run goes on (Seide et al. 2014): what is chosen, what is left."""

import copy
from collections import Counter

import pytest
import torch

from parasim import simulate
from parasim.errors import ScenarioError
from parasim.learning.build import pin_threads
from parasim.program import searching
from parasim.program.searching import largest_unharmed
from parasim.scenario import from_document
from tests.schemes_real import same_in_both
from tests.schemes_setup import make, weights
from tests.test_scenarios import golden

DATA = {"kind": "classification", "samples": 256, "spread": 4.0}
SEARCH = {"sizes": [4, 8, 16], "by": "samples", "every": 64, "probe": 32}


def tried(kind="allreduce", hosts=2, *, search=SEARCH, evaluate=None, **settings):
    """As `make`, with sizes that are tried."""
    settings = {"batch": 8, "data": DATA, "learn": True, "steps": 12, **settings}
    document = copy.deepcopy(dict(make(kind, hosts, **settings).document))
    if search is not None:
        document["workload"]["batch_search"] = search
    if evaluate:
        document["run"]["evaluate"] = {"every": evaluate}
    return from_document(document)


def always(monkeypatch, size):
    """Every search ends with this size."""
    monkeypatch.setattr(searching, "largest_unharmed", lambda sizes, accuracies, margin: size)


def test_the_largest_size_within_the_margin_of_the_best_is_chosen():
    assert largest_unharmed([8, 16, 32], [0.9, 0.95, 0.93], 0.0) == 16
    assert largest_unharmed([8, 16, 32], [0.9, 0.95, 0.93], 0.02 + 1e-12) == 32
    assert largest_unharmed([8, 16, 32], [0.9, 0.5, 0.9], 0.0) == 32
    assert largest_unharmed([8, 16, 32], [0.95, 0.9, 0.8], 0.05 + 1e-12) == 16


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("sequential", {"hosts": 1, "optimizer": {"kind": "adam"}}),
        ("allreduce", {"optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.9}, "bucket_bytes": 4096}),
        ("allreduce", {"compression": {"kind": "onebit"}, "bucket_bytes": 4096}),
        ("allreduce", {"compression": {"kind": "dgc", "density": 0.05}, "trace": "aggregate"}),
        ("accumulation", {"micro_batches": 2, "optimizer": {"kind": "adagrad"}}),
    ],
)
def test_nothing_is_left_of_trials_but_the_choice(monkeypatch, kind, settings):
    """Where the size stays, weights, updates and staleness are those of a run without trials, to the bit."""
    pin_threads()
    always(monkeypatch, 8)
    plain, searched = (simulate(tried(kind, **{"hosts": 2, **settings}, search=by)) for by in (None, SEARCH))
    assert torch.equal(weights(searched, range(1)), weights(plain, range(1)))
    same = ("steps", "updates", "loss", "staleness")
    assert [searched.summary[name] for name in same] == [plain.summary[name] for name in same]
    assert searched.summary["batches"] == [{"step": 0, "samples": 8}]
    assert searched.summary["seconds"] > plain.summary["seconds"]


def test_trials_are_really_run_and_their_time_counts(monkeypatch):
    """Searches after 64 and 128 samples of 192: each has 4 + 2 + 1 steps, of 8, 16 and 32 samples of both workers."""
    always(monkeypatch, 8)
    plain, searched = (simulate(tried(search=by)) for by in (None, SEARCH))

    def counted(result):
        """Kernels of worker 0, by label without its batch."""
        return Counter(row.label.split()[0] for row in result.trace if row.rank == 0 and row.op == "compute")

    extra = counted(searched) - counted(plain)
    steps = 2 * (4 + 2 + 1)
    assert {label: count for label, count in extra.items() if label in ("backward", "update")} == {
        "backward": steps,
        "update": steps,
    }
    assert extra["forward"] == 2 * steps  # once more, to see how good the model is
    kernels = sum(row.t_end - row.t_start for row in searched.trace if row.rank == 0 and row.op == "compute")
    assert searched.summary["seconds"] > kernels
    assert searched.summary["samples_per_second"] * searched.summary["seconds"] == pytest.approx(192)


def test_a_run_takes_as_many_samples_whatever_is_chosen(monkeypatch):
    """12 steps of 16 samples: four of them, then eight of 32 would be too many."""
    always(monkeypatch, 16)
    summary = simulate(tried(evaluate="64 samples")).summary
    assert summary["batches"] == [{"step": 0, "samples": 8}, {"step": 4, "samples": 16}]
    assert summary["steps"] == 4 + 4
    assert [(point["steps"], point["samples"]) for point in summary["evaluation"]["points"]] == [
        (0, 0),
        (4, 64),
        (6, 128),
        (8, 192),
    ]


def test_the_learning_rate_follows_the_size(monkeypatch):
    """One step of twice the batch at twice the rate: two workers with 16 are one worker with 32 that started so."""
    always(monkeypatch, 16)
    pin_threads()
    first = {**SEARCH, "every": 16, "probe": 16}
    rule = {"optimizer": {"kind": "sgd", "lr": 0.1}, "dtype": "float64"}
    linear = simulate(tried(search={**first, "scaling": "linear"}, steps=3, **rule))
    none = simulate(tried(search={**first, "scaling": "none"}, steps=3, **rule))
    assert linear.summary["batches"] == [{"step": 0, "samples": 8}, {"step": 1, "samples": 16}]
    start = weights(simulate(tried(search=None, steps=1, **rule)), range(1))
    moved = weights(linear, range(1)) - start
    assert torch.allclose(moved, 2 * (weights(none, range(1)) - start), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("margin", "fast_paths"), [(0.0, "all"), (0.02, "none"), (0.99, "all")])
def test_the_choice_follows_from_the_accuracies_that_the_trace_tells(margin, fast_paths):
    result = simulate(tried(search={**SEARCH, "margin": margin}, fast_paths=fast_paths, steps=24))
    found = {}
    for row in result.trace:
        if row.rank == 0 and row.label.startswith("training accuracy"):
            assert 0 <= row.value <= 1
            found.setdefault(row.step, {})[int(row.label.split()[-1])] = row.value
    batches = [(entry["step"], entry["samples"]) for entry in result.summary["batches"]]
    assert found
    for step, accuracies in found.items():
        assert list(accuracies) == SEARCH["sizes"]
        size = next(size for start, size in reversed(batches) if start <= step)
        assert size == largest_unharmed(list(accuracies), list(accuracies.values()), margin)
    assert len({size for accuracies in found.values() for size in accuracies.values()}) > 1


@pytest.mark.real
@pytest.mark.parametrize("compression", [None, {"kind": "onebit"}])
def test_both_runtimes_choose_the_same(pool, compression):
    same_in_both(tried(compression=compression), pool)


@pytest.mark.parametrize(
    ("kind", "search", "more", "what"),
    [
        ("allreduce", {"sizes": [8]}, {}, "give two at least"),
        ("allreduce", {"sizes": [8, 4]}, {}, "does not rise"),
        ("allreduce", {**SEARCH, "margin": 1.0}, {}, "must be less than 1"),
        ("allreduce", SEARCH, {"learn": False}, "write run: {learn: true}"),
        ("allreduce", SEARCH, {"data": {"kind": "regression"}}, "needs data with classes"),
        ("parameter_server", SEARCH, {"hosts": 3}, "parameter_server changes is on each worker: use sequential, all"),
        ("downpour", SEARCH, {"hosts": 4, "servers": 2}, "downpour changes is on each worker: use sequential, all"),
        ("zero", SEARCH, {"hosts": 4}, "zero changes is on each worker: use sequential, allreduce, accumulation"),
        ("accumulation", {**SEARCH, "sizes": [4, 6]}, {"micro_batches": 4}, "no multiple of micro_batches"),
    ],
)
def test_what_is_wrong_with_a_search_is_said_in_a_line(kind, search, more, what):
    with pytest.raises(ScenarioError, match=what) as error:
        tried(kind, **{"hosts": 2, **more}, search=search)
    assert "\n" not in str(error.value)


def test_sizes_grow_with_the_model_and_it_learns_as_well_in_fewer_updates():
    """As scenarios/large_batch.yaml says."""
    loss, updates = golden("large_batch", "loss"), golden("large_batch", "updates")
    assert updates["sizes tried"] < updates["small"] / 2
    assert loss["sizes tried"]["last"] < 1.5 * loss["small"]["last"]
