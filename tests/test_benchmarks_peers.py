"""The peers' workloads, tiny: makespans against closed forms and the job that SimGrid gets; never seconds."""

import json
import re
import stat

import pytest

import parasim
from benchmarks.once import once, operations
from benchmarks.peers import __main__ as command
from benchmarks.peers.cases import CASES, Case
from benchmarks.peers.job import compute_seconds, job
from benchmarks.peers.measure import Measured, Measurement, measure
from benchmarks.peers.page import write
from benchmarks.peers.placement import shuffled
from benchmarks.peers.published import PUBLISHED, Goal, Published
from benchmarks.peers.table import against, seconds_of, side_by_side
from benchmarks.process import run_process

RING_SECONDS = {"r256": 2.848750, "r1024": 0.362143341}


def words(scenario):
    """The job's lines by their first words."""
    return {line.split()[0]: line.split()[1:] for line in job(scenario).splitlines()}


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_a_scenario_with_figures_and_a_job(name):
    case = CASES[name]
    assert name in PUBLISHED
    scenario = case.load()
    if scenario.scheme.options.workers <= 256:  # larger ones take a second each, and their jobs are no different
        actors = [int(number) for number in words(scenario)["actors"]]
        assert sum(actors) == len(scenario.placement)


@pytest.mark.parametrize("name", RING_SECONDS)
def test_the_rings_of_the_cases_take_what_the_survey_says(name):
    scenario = CASES[name].load()
    workers, steps, link = scenario.scheme.options.workers, scenario.run.steps, scenario.cluster.link
    piece, rest = divmod(scenario.workload.model.whole.parameters, workers)
    assert rest == 0
    seconds = 0.1 + 2 * (workers - 1) * (2 * link.latency + 4 * piece / link.bandwidth)
    assert steps * seconds == pytest.approx(RING_SECONDS[name], rel=1e-9)


@pytest.mark.parametrize("fidelity", ["message", "coupled"])
@pytest.mark.parametrize(("workers", "steps"), [(2, 3), (8, 2), (16, 1)])
def test_a_small_ring_takes_its_closed_form(workers, steps, fidelity):
    wanted = [f"scheme.workers={workers}", f"run.steps={steps}", f"run.fidelity={fidelity}"]
    scenario = parasim.load(CASES["r1024"].file, wanted)
    seconds = 0.1 + 2 * (workers - 1) * (50e-6 + 4 * 24_999_936 / workers / 1.25e9)
    assert parasim.simulate(scenario).summary["seconds"] == pytest.approx(steps * seconds, rel=1e-9)


def test_one_worker_of_a_server_pushes_and_fetches_in_turn():
    scenario = parasim.load(CASES["ps256"].file, ["scheme.workers=1", "run.steps=3"])
    transfer = 50e-6 + 1e8 / 1.25e9
    taken = sum(compute_seconds(scenario)[0]) + 6 * transfer
    assert parasim.simulate(scenario).summary["seconds"] == pytest.approx(taken, rel=1e-9)


@pytest.mark.parametrize("name", ["ps256", "d256", "r1024_noise"])
def test_the_peer_is_told_how_long_workers_compute(name):
    scenario = parasim.load(CASES[name].file, ["scheme.workers=3", "run.steps=2", "run.trace=rows"])
    rows = [row for row in parasim.simulate(scenario).trace.rows if (row.op, row.label) == ("compute", "forward")]
    for rank, steps in enumerate(compute_seconds(scenario)):
        for step, seconds in enumerate(steps):
            spent = [row.t_end - row.t_start for row in rows if (row.rank, row.step) == (rank, step)]
            assert sum(spent) == pytest.approx(seconds, rel=1e-9)


def test_the_job_of_a_ring():
    found = words(parasim.load(CASES["r1024_fat16o"].file, ["run.steps=2"]))
    assert found["mode"] == ["ring"]
    assert found["network"] == ["fat", "3", "8", "8", "16", "1", "4", "8", "1250000000.0", "1.25e-05"]
    assert found["actors"] == ["1024", "0"]
    assert [int(host) for host in found["hosts"]] == shuffled(1024)
    assert found["buckets"] == ["1", "24999936", "0.0"]
    assert found["compute"] == ["0.1"] * 2048


def test_the_job_of_overlapped_layers():
    found = words(parasim.load(CASES["d256"].file, ["scheme.workers=4"]))
    assert found["mode"] == ["overlap"]
    count, *buckets = found["buckets"]
    forward, backward, first = 0.1 / 29, 0.2 / 29, 0.1 / 29
    assert (count, buckets[::2]) == ("10", ["2500000"] * 10)
    assert [float(word) for word in buckets[1::2]] == pytest.approx([backward] * 9 + [first])
    assert float(found["compute"][0]) == pytest.approx(10 * forward)


def test_the_job_of_shards_places_servers_last():
    order = shuffled(128)
    found = words(CASES["pss120"].load())
    assert found["mode"] == ["server"]
    assert found["actors"] == ["120", "8"]
    assert [int(host) for host in found["hosts"]] == order[8:] + order[:8]


def test_the_order_of_hosts_is_a_permutation_that_never_changes():
    assert sorted(shuffled(128)) == list(range(128))
    assert shuffled(8) == [0, 5, 4, 1, 6, 2, 3, 7]


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("r256", ["scheme={kind: adpsgd}"], "rings .allreduce."),
        ("ps256", ["scheme.n_push=2"], "downpour with service: concurrent, n_fetch: 1, n_push: 1"),
        ("r256", ["scheme.workers=8", "cluster.topology={kind: torus, dimensions: [2, 4]}"], "stars, and fat trees"),
        ("d256", ["cluster.noise={kind: lognormal, sigma: 0.1}"], "noise on forward passes only"),
    ],
)
def test_what_the_peer_has_not_is_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        job(parasim.load(CASES[name].file, overrides))


def small(name, *overrides, **more):
    return Case(CASES[name].file, overrides, **more)


def test_operations_are_messages_and_steps():
    found = once(CASES["r256"].file, ["scheme.workers=8", "run.steps=3"])
    assert found["operations"] == 8 * 3 * (2 * 7 + 1)
    assert found["makespan"] == pytest.approx(3 * (0.1 + 14 * (50e-6 + 4 * 24_999_936 / 8 / 1.2499968e9)), rel=1e-9)
    shards = small("ps256", "scheme.workers=4", "scheme.servers=2", "run.steps=3")
    assert operations(parasim.simulate(shards.load()).summary) == 4 * 3 * (2 + 2 + 1)


@pytest.fixture
def peer(tmp_path):
    """A program that stands in for SimGrid: it checks that it got a job, and answers always the same."""
    program = tmp_path / "peer"
    answer = {"makespan": 2.5, "seconds": 2.0, "cpu_seconds": 1.5, "operations": 28}
    program.write_text(f"#!/bin/sh\ngrep -q '^mode ring$' \"$1\" || exit 3\necho '{json.dumps(answer)}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_the_command_measures_both(monkeypatch, capsys, peer):
    monkeypatch.setitem(CASES, "r256", small("r256", "scheme.workers=4", "run.steps=1"))
    seconds = 0.1 + 6 * (50e-6 + 24_999_936 / 1.2499968e9)
    assert command.main(["r256", "--repeat", "1", "--simgrid", str(peer), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["parasim"]["makespan"] == pytest.approx(seconds, rel=1e-9)
    assert result["parasim"]["peak_bytes"] > 2**20
    assert (result["simgrid"]["makespan"], result["simgrid"]["seconds"]) == (2.5, 1.5)
    assert result["difference"] == pytest.approx(seconds / 2.5 - 1)
    assert result["operations"] == 4 * 7
    with pytest.raises(RuntimeError, match=r"r256: 56 operations of parasim, 28 of SimGrid"):
        measure("r256", small("r256", "scheme.workers=4", "run.steps=2"), 1, 60, peer)


def test_a_case_may_be_parasim_s_alone(peer):
    case = small("r256", "scheme.workers=4", "run.steps=1", peer=False)
    assert measure("r256_coupled", case, 1, 60, peer).simgrid is None


def test_a_run_is_stopped_at_the_limit_and_a_failure_tells():
    assert run_process(["sleep", "60"], 0.05) is None
    with pytest.raises(RuntimeError, match=r"ended with code 3:\nno such thing"):
        run_process(["sh", "-c", "echo no such thing >&2; exit 3"], 60)


def test_tables_compare_with_what_ran_beside_else_with_what_is_published(monkeypatch):
    monkeypatch.setattr("benchmarks.peers.table.PUBLISHED", {
        "a": Published({"SimGrid 4.1": 9.0, "LogGOPSim": 3.0}, (Goal("SimGrid 4.1", 4), Goal("LogGOPSim", 5))),
        "b": Published({}, (Goal("parasim a", 5),)),
    })  # fmt: skip
    ours = Measured(1.0, 0.5, 1.0, 2**20, 0.7)
    theirs = Measured(1.0 + 1e-7, 4.0, 4.0, 2**21)
    results = [Measurement("a", 100, 7, ours, theirs), Measurement("b", 100, 7, Measured(1, 0.25, 1, 1), None)]
    _, line, _ = side_by_side(results).splitlines()
    assert line.split() == ["a", "1", "1.0000001", "yes", "0.5", "0.7", "4", "8", "1", "4", "4", "1", "2", "200", "25"]
    _, *lines = [re.split(" {2,}", line) for line in against(results).splitlines()]
    verdicts = [(line[0], line[1], line[-1]) for line in lines]
    assert verdicts == [("a", "SimGrid 4.1", "reached"), ("a", "LogGOPSim", "reached"), ("b", "parasim a", "missed")]
    by_case = {result.case: result for result in results}
    assert seconds_of("SimGrid 4.1", results[0], by_case) == (4.0, "this run")
    assert seconds_of("LogGOPSim", results[0], by_case) == (3.0, "published")


def test_the_readme_s_table_is_written_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    ours, theirs = Measured(2.84875, 0.5, 1.0, 2**20), Measured(2.84875, 4.0, 4.1, 2**21)
    write(page, [Measurement("r256", 1000, 7, ours, theirs), Measurement("r1024", None, None, None, None)], 3)
    first, _, _, head, _, line, unmeasured, *end = page.read_text().split("<!-- speed -->\n")[1].splitlines()
    assert first.startswith("CPU seconds, medians of 3 ")
    assert len(head.split("|")) == len(line.split("|")) == len(unmeasured.split("|"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:5] == ["[R(256,10)](benchmarks/peers/r256.yaml)", "2.84875 s", "0.5", "4", "8"]
    assert cells[5:10] == ["1", "4.1", "1", "2", "2,000"]
    assert cells[10].startswith("LogGOPSim 0.75, ")
    assert "not measured" in unmeasured
    assert end == ["<!-- /speed -->", "after"]
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no place for the table"):
        write(page, [], 3)


@pytest.mark.parametrize("arguments", [["rings"], ["r256", "--repeat", "0"], ["r256", "--simgrid", "/no/such/program"]])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert arguments[-1] in capsys.readouterr().err
