"""The benchmarks of the simulator, tiny: counts and makespans, never seconds."""

import json

import pytest

from benchmarks import engine, gradients
from benchmarks.cases import CASES, downpour, ring
from benchmarks.engine import main, measure


@pytest.mark.parametrize("workers", [2, 8, 13])
def test_the_ring_takes_the_time_of_its_closed_form(workers):
    case = ring(workers, 3)
    assert measure(case, 1).makespan == pytest.approx(case.least, rel=1e-9)


def test_the_closed_form_is_that_of_the_survey():
    assert ring(64, 10).least == pytest.approx(2.638, abs=1e-12)
    assert ring(256, 10).least == pytest.approx(2.848750, rel=5e-6)  # pieces are not quite equal


def test_operations_of_the_ring_are_counted():
    workers, steps = 8, 3
    found = measure(ring(workers, steps), 1)
    # forward, backward, post, wait, collective, update, two notes; an exchange a round, a reduction every other round
    assert found.operations == workers * steps * (8 + 3 * (workers - 1))


def test_the_ring_needs_few_events_per_operation():
    assert measure(ring(8, 3), 1).events_per_operation < 0.6
    assert measure(ring(32, 1), 1).events_per_operation < 0.4


def test_downpour_needs_few_events_per_operation():
    workers, steps = 16, 5
    found = measure(downpour(workers, steps), 1)
    # a step: 7 of the worker and 4 of the server, less the last fetch; a worker: its first fetch (7), the post of its
    # lane at the server, and the receive that ends with the run
    assert found.operations == workers * (11 * steps - 2 + 7 + 2)
    assert found.events_per_operation < 0.8


def test_a_wrong_makespan_is_refused():
    case = ring(4, 1)
    case.check(case.least)
    with pytest.raises(ValueError, match="ring 4: makespan of 1"):
        case.check(1.0)


def test_the_full_cases_are_scenarios():
    from parasim.scenario import from_document

    assert [len(from_document(make().document).placement) for make in CASES.values()] == [64, 256, 256, 17, 257]


def test_the_command_prints_a_table_and_json(monkeypatch, capsys):
    monkeypatch.setattr(engine, "CASES", {"tiny": lambda: ring(4, 1)})
    monkeypatch.setattr(engine, "USUAL", ("tiny",))
    assert main(["tiny", "--here", "--repeat", "1"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "case"
    assert line.split()[:3] == ["ring", "4", f"{ring(4, 1).least:.6f}"]
    assert main(["--here", "--json", "--repeat", "1"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["case"], result["operations"]) == ("ring 4", 4 * 17)
    assert result["operations_per_second"] == pytest.approx(result["operations"] / result["seconds"])


def test_learning_is_measured_beside_a_plain_loop_of_the_same_gradients(capsys):
    assert gradients.main(["--workers", "2", "--repeat", "1", "--scheme", "parameter_server", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"parameter_server"}
    assert found["parameter_server"].keys() == {"plain torch", "parasim", "batched"}


def test_a_case_runs_in_a_process_of_its_own(capsys):
    assert main(["downpour-16", "--json", "--repeat", "1"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["peak_bytes"] > 2**20


@pytest.mark.parametrize("arguments", [["rings"], ["--repeat", "0"]])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[-1] in capsys.readouterr().err
