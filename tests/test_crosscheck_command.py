"""The verb: what it writes, what it takes up again, what it refuses, and its exit codes. Real runs are pretended."""

import json
import shutil
import sys
from dataclasses import replace
from functools import partial

import pytest
from networkx import complete_graph, write_graphml

from calibration.checking.cases import read_cases, run_identity
from calibration.checking.machine import this_machine
from calibration.checking.predicting import replica
from calibration.checking.recording import Recording, read_measurements, trace_path
from calibration.fitting.session import read_journal
from parasim.cli import main
from parasim.cluster.profile_file import load_profile, save_profile
from parasim.errors import CalibrationError, DeadlockError, ExecutionError, ScenarioError
from parasim.scenario import load
from parasim.study.simulate import simulate
from tests.calibrations import QUICK, peaks
from tests.crosscheck_setup import CORES, profile
from tests.golden import ROOT

pytestmark = pytest.mark.usefixtures("in_this_process")
FILE = """
name: two ways
workload: {model: {kind: mlp, width: 32, depth: 4}, batch_size: 16, data: {kind: digits}}
cluster:
  topology: {kind: star, hosts: 3}
  device: {flops: 100 MFLOP/s, memory: 1 GiB, memory_bandwidth: 5 GB/s}
  link: {bandwidth: 100 Mbit/s, latency: 50 us}
scheme: {kind: allreduce}
run: {steps: 10, seed: 1}
execute: {compute: paced}
variants:
  ring: {scheme: {kind: allreduce, workers: 2}}
  pipe: {scheme: {kind: gpipe, workers: 2, micro_batches: 2}}
"""
CASES = ["two/ring", "two/pipe"]


class Machine:
    """Stands for the real runtime: simulates with the right profile, and keeps the names of what it ran."""

    def __init__(self):
        self.ran = []
        self.stop_after = 10**9
        self.broken = {}

    def __call__(self, scenario):
        name = scenario.variant or scenario.name
        if len(self.ran) >= self.stop_after:
            raise KeyboardInterrupt
        self.ran.append(name)
        if name in self.broken:
            raise self.broken[name]
        drawn = replica(scenario, profile(), 1000 + len(self.ran))
        return simulate(replace(drawn, run=replace(drawn.run, trace=scenario.run.trace)))


@pytest.fixture
def machine(monkeypatch):
    found = Machine()
    for module in ("calibration.crosscheck", "calibration.checking.command"):
        monkeypatch.setattr(sys.modules.get(module) or __import__(module, fromlist=["_"]), "execute_on_pool", found)
    return found


@pytest.fixture
def place(tmp_path):
    (tmp_path / "two.yaml").write_text(FILE)
    save_profile(profile(doubt=0.02), tmp_path / "bench.json")
    return tmp_path


def check(place, *words, profile="bench.json"):
    return main(["crosscheck", str(place / "two.yaml"), "--profile", str(place / profile), "--replicas", "20", *words])


def test_accepted_with_files_and_exit_code_zero(place, machine, capsys):
    out = place / "out"
    assert check(place, "--runs", "3", "--out", str(out), "--json") == 0
    assert machine.ran == ["ring", *["ring", "pipe"] * 3]  # one to warm up, then in turn
    found = json.loads(capsys.readouterr().out)
    assert found["accepted"] is True
    assert [case["case"] for case in found["cases"]] == CASES
    assert found["total"]["ranking"] == {"tau": 1.0, "pairs": 1, "sets": 1}
    assert found["machine"] == this_machine()
    assert json.loads((out / "crosscheck.json").read_text()) == found
    names = {path.name for path in out.iterdir()}
    assert {f"crosscheck.{kind}" for kind in ("json", "txt", "csv", "png", "svg")} | {
        "measured.json",
        "provenance.json",
        "traces",
    } <= names
    assert (out / "crosscheck.txt").read_text().rstrip().endswith("ACCEPTED")
    assert len((out / "crosscheck.csv").read_text().splitlines()) == 3
    measured = read_measurements(out)
    assert [len(measured.runs[name]) for name in CASES] == [3, 3]
    assert set(measured.runs["two/ring"][0].about) == {"when", "load", "stolen", "slow", "made"}


def test_rejected_with_exit_code_one(place, machine, capsys):
    save_profile(profile(post=2e-3), place / "slow.json")
    assert check(place, "--runs", "2", profile="slow.json") == 1
    printed = capsys.readouterr().out
    assert "REJECTED" in printed
    assert "MISSES: two/ring: error" in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_a_calibration_takes_turns_with_the_runs(place, machine, capsys, monkeypatch):
    from calibration.calibrate import Calibration
    from calibration.checking import command

    def peaks_between(task):
        machine.ran.append(f"round {task.round + 1}")
        return peaks(task)

    plan = (replace(QUICK[0], function=peaks_between), QUICK[1])
    monkeypatch.setattr(command, "Calibration", partial(Calibration, plan=plan))
    words = ["crosscheck", str(place / "two.yaml"), "--calibrate", str(place / "here.json"), "--measure-only"]
    words += ["--out", str(place / "out"), "--runs", "3"]
    machine.stop_after = 6
    assert main(words) == 130
    assert machine.ran == ["round 1", "ring", "ring", "pipe", "round 2", "ring"]
    assert not (place / "here.json").exists()
    machine.stop_after, machine.ran = 10**9, []
    assert main(words) == 0
    assert machine.ran == ["pipe", "pipe", "round 3", "ring", "pipe", "round 4"]
    assert "6 real runs of 2 cases" in capsys.readouterr().out
    assert load_profile(place / "here.json").provenance["rounds"] == [1, 2, 3, 4]
    assert read_journal(place / "here.json.part")[0]["rounds"] == 4
    machine.ran = []
    judged = [word for word in words if word != "--measure-only"]
    assert main([*judged, "--replicas", "4", "--json"]) in (0, 1)  # judged by it: nothing is measured again
    assert machine.ran == []
    assert json.loads(capsys.readouterr().out)["profile"] == "here"


@pytest.mark.slow
def test_runs_that_are_there_are_not_made_again(place, machine):
    out = place / "out"
    machine.stop_after = 4
    assert check(place, "--runs", "3", "--out", str(out)) == 130
    assert [len(read_measurements(out).runs.get(name, ())) for name in CASES] == [2, 1]
    machine.stop_after, machine.ran = 10**9, []
    assert check(place, "--runs", "3", "--out", str(out)) == 0
    assert machine.ran == ["pipe", "pipe", "ring", "pipe"]
    machine.ran = []
    assert check(place, "--runs", "3", "--out", str(out)) == 0
    assert machine.ran == []


def test_measured_once_and_judged_often(place, machine, capsys):
    out = place / "out"
    assert main(["crosscheck", str(place / "two.yaml"), "--measure-only", "--runs", "2", "--out", str(out)]) == 0
    machine.ran = []
    assert check(place, "--simulate-only", str(out / "measured.json")) == 0
    save_profile(profile(post=2e-3), place / "slow.json")
    assert check(place, "--simulate-only", str(out), profile="slow.json") == 1
    assert machine.ran == []
    assert check(place, "--simulate-only", str(out), "run.steps=11") == 2
    assert "recorded runs are of another scenario" in capsys.readouterr().err


def test_files_of_a_folder_that_were_not_measured_are_left_out_and_named(place, machine, capsys):
    (place / "cases").mkdir()
    for name, file in (("two", FILE), ("three", FILE.replace("seed: 1", "seed: 2"))):
        (place / "cases" / f"{name}.yaml").write_text(file)
    measured = str(place / "out" / "measured.json")
    measuring = ["crosscheck", str(place / "cases" / "two.yaml"), "--measure-only", "--runs", "2"]
    assert main([*measuring, "--out", str(place / "out")]) == 0
    judging = ["crosscheck", str(place / "cases"), "--profile", str(place / "bench.json"), "--replicas", "20"]
    capsys.readouterr()
    assert main([*judging, "--simulate-only", measured, "--json"]) == 0
    printed = capsys.readouterr()
    assert "not judged, as none was measured: the 2 cases of three" in printed.err
    assert [case["case"] for case in json.loads(printed.out)["cases"]] == CASES


def test_what_a_profile_was_fitted_on_is_refused(place, machine, capsys):
    fitted = run_identity(load(place / "two.yaml", variant="pipe"))
    save_profile(profile(fitted_on=(fitted,)), place / "fitted.json")
    assert check(place, profile="fitted.json") == 2
    message = capsys.readouterr().err
    assert "two/pipe" in message
    assert "was fitted on this very run" in message
    assert machine.ran == []
    assert check(place, "run.seed=2", "--runs", "1", profile="fitted.json") in {0, 1}


def test_identity_is_what_is_run_not_what_it_is_called(place):
    ring, again = (load(place / "two.yaml", words, variant="ring") for words in ([], ["name=other"]))
    assert run_identity(ring) == run_identity(again)
    changed = load(place / "two.yaml", ["execute.network=shaped"], variant="ring")
    assert run_identity(ring) != run_identity(changed)


def test_files_count_by_what_is_in_them_wherever_they_lie(place):
    """Else what one user has recorded could not be judged by another."""
    found = []
    for folder, hosts in (("here", 3), ("there", 3), ("other", 4)):
        (place / folder).mkdir()
        write_graphml(complete_graph(hosts), place / folder / "wires.graphml")
        (place / folder / "two.yaml").write_text(
            FILE.replace("kind: star, hosts: 3", "kind: graph, file: wires.graphml")
        )
        found.append(run_identity(load(place / folder / "two.yaml", variant="ring")))
    here, there, other = found
    assert here == there != other


def test_the_recorded_runs_are_of_the_scenarios_as_they_are():
    recorded = read_measurements(ROOT / "calibration/recorded/xeon-2-cores.json")
    cases = read_cases(ROOT / "scenarios/crosscheck", cores=recorded.machine["cores"])
    assert sum(len(recorded.of(case)) == 2 for case in cases) == len(recorded.identities) == 42


def test_a_profile_of_another_machine_is_refused(place, machine, capsys):
    there = {**this_machine(), "processor": "Abacus 9000"}
    save_profile(profile(provenance={"machine": there}), place / "other.json")
    assert check(place, "--runs", "1", profile="other.json") == 2
    message = capsys.readouterr().err
    assert "Abacus 9000" in message
    assert "--other-machine" in message
    assert machine.ran == []
    assert check(place, "--runs", "1", "--other-machine", profile="other.json") in {0, 1}
    assert machine.ran


def test_runs_of_another_machine_are_not_added_to(place, machine, capsys):
    out = place / "out"
    assert check(place, "--runs", "1", "--out", str(out)) in {0, 1}
    content = json.loads((out / "measured.json").read_text())
    content["machine"]["cores"] = 64
    (out / "measured.json").write_text(json.dumps(content))
    assert check(place, "--runs", "2", "--out", str(out)) == 2
    assert "another machine" in capsys.readouterr().err


def test_a_case_that_fails_is_a_row(place, machine, capsys):
    machine.broken = {"pipe": ExecutionError("rank 1: was killed\nby signal 9")}
    out = place / "out"
    assert check(place, "--runs", "2", "--out", str(out)) == 1
    assert "DID NOT RUN: two/pipe: rank 1: was killed by signal 9" in capsys.readouterr().out
    assert machine.ran.count("pipe") == 1
    machine.broken = {}
    assert check(place, "--runs", "2", "--out", str(out)) == 0
    assert read_measurements(out).failures == {}


def test_nothing_ran(place, machine, capsys):
    machine.broken = dict.fromkeys(["ring", "pipe"], DeadlockError("all wait"))
    assert check(place, "--runs", "2", "--out", str(place / "out")) == 1
    assert "No case was run." in capsys.readouterr().out


def test_a_difference_is_opened(place, machine, capsys):
    out = place / "out"
    assert check(place, "--runs", "1", "--out", str(out)) in {0, 1}
    machine.ran = []
    capsys.readouterr()
    assert check(place, "--out", str(out), "--explain", "two/ring") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("two/ring: a worker's step takes ")
    assert "100% of all operations have a counterpart" in printed.out
    assert machine.ran == []
    assert trace_path(out, "two/ring", "simulated").exists()
    assert check(place, "--explain", "two/pipe", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["matched"] == 1.0
    assert "one real run is made" in printed.err
    assert machine.ran == ["pipe"]
    assert check(place, "--explain", "two/rung") == 2
    assert "two/ring, two/pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--measure-only"], "add --out DIR"),
        (["--runs", "0"], "--runs: 0 is too few"),
        (["--replicas", "1"], "--replicas: 1 is too few"),
        (["--measure-only", "--simulate-only", "x"], "don't go together"),
        (["--measure-only", "--out", "x"], "--profile: --measure-only predicts nothing"),
        (["--calibrate", "here.json"], "--profile: --calibrate measures this machine: leave it out"),
        (["--simulate-only", "nowhere.json"], "can't be read as measurements"),
        (["--variant", "no"], "no variant"),
        (["workload.dtype=float64", "execute.compute=real", "--runs", "1"], "measured in float32"),
        (["execute.network=shaped", "execute.compute=real"], "execute.compute=paced"),
    ],
)
def test_wrong_words_are_one_line(place, machine, capsys, words, what):
    assert check(place, *words) == 2
    message = capsys.readouterr().err
    assert what in message
    assert message.count("\n") == 1
    assert machine.ran == []


def test_a_wrong_profile_makes_no_folder(place, machine):
    assert check(place, "--out", str(place / "out"), profile="none.json") == 2
    assert not (place / "out").exists()


def test_why_a_case_was_not_measured_is_said(place, machine, capsys):
    machine.broken = {"ring": ExecutionError("ring is out of order")}
    words = ["crosscheck", str(place / "two.yaml"), "--measure-only", "--out", str(place / "out")]
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("5 real runs of 1 cases")
    assert "two/ring: did not run: ring is out of order" in printed.err


def test_two_files_of_one_name(place, capsys):
    shutil.copy(place / "two.yaml", place / "two.yml")
    assert main(["crosscheck", str(place), "--profile", str(place / "bench.json")]) == 2
    assert "its case 'two/ring' is called like that of" in capsys.readouterr().err


def test_without_a_profile(place, capsys):
    assert main(["crosscheck", str(place / "two.yaml")]) == 2
    assert "--profile P is missing" in capsys.readouterr().err


def test_a_profile_without_shaped_links(place, machine, capsys):
    loopback = {"loopback": profile().transports["loopback"]}
    save_profile(profile(transports=loopback), place / "plain.json")
    assert check(place, "execute.network=shaped", profile="plain.json") == 2
    assert "has no transport 'shaped'" in capsys.readouterr().err


def test_folders_are_read_in_order(place):
    text = FILE.replace("seed: 1", "seed: 2")
    (place / "again.yaml").write_text(text)
    assert [case.name for case in read_cases(place, cores=CORES)] == ["again/ring", "again/pipe", *CASES]
    (place / "again.yaml").write_text(FILE)
    with pytest.raises(ScenarioError, match="the same run as 'again/ring'"):
        read_cases(place, cores=CORES)
    with pytest.raises(ScenarioError, match="--variant"):
        read_cases(place, variant="ring", cores=CORES)
    empty = place / "empty"
    empty.mkdir()
    with pytest.raises(ScenarioError, match="has no scenarios"):
        read_cases(empty, cores=CORES)


def test_one_process_at_a_time(tmp_path):
    with Recording(tmp_path / "out"), pytest.raises(CalibrationError, match="another cross-check is writing here"):
        Recording(tmp_path / "out")
    with Recording(tmp_path / "out"):
        pass


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    out = tmp_path / "out"
    (out / "traces").mkdir(parents=True)
    left = [out / ".measured.json.abc", out / ".crosscheck.png.x1", out / "traces" / ".two_ring-real.parquet.9"]
    kept = [out / ".gitignore", out / "notes.txt"]
    for path in [*left, *kept]:
        path.write_text("half")
    with Recording(out):
        pass
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "parasim measurements 1", "machine": {}}'])
def test_a_file_that_is_no_measurements(tmp_path, content):
    path = tmp_path / "measured.json"
    path.write_text(content)
    with pytest.raises(CalibrationError) as found:
        read_measurements(path)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)
