"""Where the traffic of a plan's groups runs: inside nodes or between them, on which links, and beside whose (S35.5)."""

import pytest

from parasim import load_all, simulate
from parasim.cli import main
from parasim.metrics.groups import group_traffic
from parasim.trace.rows import Row
from tests.golden import ROOT

PLANS = ROOT / "scenarios" / "schemes" / "three_d.yaml"
ONCE = ["run.learn=false", "run.steps=2"]


def groups_of(variant, *overrides):
    (case,) = (case for case in load_all(PLANS, [*ONCE, *overrides]) if case.variant == variant)
    return simulate(case).summary["groups"]


def sent(found, kind):
    """Bytes inside and between, then messages."""
    places = found[kind]["inside"], found[kind]["between"]
    return tuple(place[figure] for figure in ("bytes_per_step", "messages_per_step") for place in places)


TOKENS, WIDTH, MICROS, LAYERS = 16, 64, 4, 2


@pytest.mark.parametrize("fidelity", ["message", "coupled"])
def test_tensor_groups_inside_nodes_and_stages_between_them(fidelity):
    """Two stages of four shards: (4 a block and 2 of the ends) b s h and 3 b s, by rings; b s h each way, a shard."""
    found = groups_of("tensor in nodes, stages between", f"run.fidelity={fidelity}")
    rows = 4 * TOKENS
    ring = 2 * (4 - 1) * 4 * rows
    reduces = LAYERS * 4 + 2
    assert sent(found, "tensor") == (
        MICROS * ring * (reduces * WIDTH + 3), 0, MICROS * (reduces + 2) * 2 * (4 - 1) * 4, 0,
    )  # fmt: skip
    assert sent(found, "pipeline") == (0, 2 * 4 * MICROS * rows * WIDTH * 4, 0, 2 * 4 * MICROS)
    assert set(found) == {"tensor", "pipeline"}
    link = found["pipeline"]["busiest_link"]
    assert link["name"] in ("node0->central", "node1->central", "central->node0", "central->node1")
    assert (link["bytes_per_step"], link["bytes_per_step_of_others"]) == (4 * MICROS * rows * WIDTH * 4, {})


def test_copies_between_nodes_sum_their_shards_there():
    """2 (d - 1)/d P/(p t) of every worker, all over the two cables between the nodes."""
    (case,) = (case for case in load_all(PLANS, ONCE) if case.variant.startswith("stages in nodes"))
    found = simulate(case).summary["groups"]
    shards = [case.workload.model.split("pairs", place, 2, vocabulary=1) for place in range(2)]
    held = sum(shard.of(part).nbytes for shard in shards for part in case.scheme.parts(case.workload.model))
    assert sent(found, "data") == (0, 2 * held, 0, 2 * 8)
    assert found["data"]["busiest_link"]["bytes_per_step"] == held
    assert sent(found, "pipeline")[1] == sent(found, "tensor")[1] == 0


def test_links_that_groups_share_tell_of_each_other():
    """Tensor groups laid across nodes meet stages on the hosts' own cables; between nodes they are alone, and slow."""
    found = groups_of("tensor groups across nodes")
    assert sent(found, "tensor")[0] == 0
    assert sent(found, "pipeline")[1] == 0
    shared = found["pipeline"]["busiest_link"]
    whole = sum(sent(found, "tensor")[:2])
    first = MICROS * (LAYERS // 2 * 4 + 1) * 2 * (4 - 1) * TOKENS * WIDTH * 4  # of a worker of the first stage
    assert shared["bytes_per_step_of_others"] == {"tensor": first}
    assert found["tensor"]["busiest_link"]["bytes_per_step"] == pytest.approx(whole / 2)


def test_bytes_of_all_groups_are_those_of_the_workers():
    for case in load_all(PLANS, ONCE):
        summary = simulate(case).summary
        for figure in ("bytes", "messages"):
            whole = sum(place[f"{figure}_per_step"] for found in summary["groups"].values() for place in (
                found["inside"], found["between"]))  # fmt: skip
            assert whole == pytest.approx(8 * summary[f"{figure}_sent_per_worker_per_step"])


def test_kinds_of_groups_and_links_from_rows():
    """Numbers at the end tell groups of a kind apart; a host's traffic to itself has no link here."""

    def send(rank, peer, group, nbytes, **more):
        return Row(rank, "worker", rank, "main", "main#0", "send", peer=peer, group=group, nbytes=nbytes, **more)

    rows = [
        send(0, 1, "tensor 0", 8),
        send(2, 3, "tensor 11", 8),
        send(0, 2, "", 4),
        send(1, -1, "tensor 0", 6, outcome="coupled", messages=3),
        send(3, 0, "", 0),
    ]
    found = group_traffic(
        rows, 2, "pipeline", [0, 0, 1, 2], lambda a, b: [] if {a, b} == {0, 1} else ["up", "down"], lambda name: (0, 1)
    )
    assert sent(found, "tensor") == (7, 4, 2, 0.5)
    assert sent(found, "pipeline") == (0, 2, 0, 0.5)
    assert found["tensor"]["busiest_link"] == {
        "name": "up", "bytes_per_step": 4, "bytes_per_step_of_others": {"pipeline": 2},
    }  # fmt: skip


def test_schemes_without_groups_and_sums_alone_have_no_such_figure():
    (case, *_) = load_all(ROOT / "scenarios" / "quickstart.yaml", ["run.steps=1"])
    assert "groups" not in simulate(case).summary
    case = load_all(PLANS, [*ONCE, "run.trace=aggregate"])[0]
    assert "groups" not in simulate(case).summary


def test_the_printed_table_has_a_row_per_group(capsys):
    assert main(["run", str(PLANS), *ONCE]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(place for place, line in enumerate(lines) if "busiest link" in line and "messages" in line)
    assert max(map(len, lines)) <= 120
    assert sum(" tensor " in line and "->" in line for line in lines[first:]) == 3


@pytest.mark.parametrize("tensor", [2, 4])
def test_pieces_cross_the_border_once_and_are_gathered_inside(tensor):
    """Narayanan et al. 2021, section 4.1: b s h / t of a worker; the gather's (t - 1)/t b s h stay inside nodes."""
    hosts = [*range(tensor), *range(4, 4 + tensor)]
    plan = [f"scheme.tensor={tensor}", f"scheme.workers={2 * tensor}", f"scheme.placement={{worker: {hosts}}}"]
    plain, pieces = (
        groups_of("tensor in nodes, stages between", *plan, f"scheme.scatter_gather={scattered}")
        for scattered in ("false", "true")
    )
    whole = MICROS * 4 * TOKENS * WIDTH * 4
    assert sent(plain, "pipeline") == (0, 2 * tensor * whole, 0, 2 * tensor * MICROS)
    assert sent(pieces, "pipeline") == (0, 2 * whole, 0, 2 * tensor * MICROS)
    assert sent(pieces, "tensor")[0] - sent(plain, "tensor")[0] == 2 * (tensor - 1) * whole
