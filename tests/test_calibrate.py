"""Calibration: rounds of probes, the journal, what is continued after a kill, and the verb."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calibration.calibrate import Options, calibrate, refit
from calibration.fitting.session import Journal, Turn, read_journal, suffixed
from calibration.probes.plan import GROUPS, PLAN, Probe, chosen
from calibration.probes.record import Observation, Skipped, Task, from_json, to_json
from calibration.probes.state import Ticks, read_ticks, stolen_share
from parasim.cli import main
from parasim.cluster.profile_file import load_profile
from parasim.errors import CalibrationError, ScenarioError
from tests.calibrations import FLOPS, QUICK, layers, peaks

ROOT = Path(__file__).parents[1]
SEEN = Observation("links", "ping_pong", {"nbytes": 8, "way": "both"}, 1e-4, 2, 1e9)


# records -----------------------------------------------------------------------------------------------------------
def test_records_survive_json():
    assert from_json(json.loads(json.dumps(to_json(SEEN)))) == SEEN


@pytest.mark.parametrize(
    "change",
    [(3, -1.0), (3, float("nan")), (3, True), (3, "1"), (4, -1), (4, 1.5), (0, ""), (1, ""), (5, float("inf"))],
)
def test_records_of_nonsense_are_refused(change):
    values = to_json(SEEN)
    values[change[0]] = change[1]
    with pytest.raises(CalibrationError):
        from_json(values)


@pytest.mark.parametrize("values", [None, [], [1, 2], {"probe": "links"}, ["a", "b", [], 1.0, 0, 1.0]])
def test_what_is_no_record_is_refused(values):
    with pytest.raises(CalibrationError, match="no observation"):
        from_json(values)


# the plan ----------------------------------------------------------------------------------------------------------
def test_the_plan_names_each_probe_once_and_groups_that_there_are():
    assert len({probe.name for probe in PLAN}) == len(PLAN)
    assert {probe.group for probe in PLAN} == set(GROUPS)
    assert all(probe.share > 0 for probe in PLAN)


def test_a_group_is_chosen_with_what_no_profile_is_without():
    assert [probe.name for probe in chosen(("contention",), QUICK)] == ["peaks", "gpu"]
    assert chosen((), QUICK) == QUICK
    with pytest.raises(ScenarioError, match="no group of probes is called 'wires'"):
        chosen(("wires",), QUICK)
    with pytest.raises(ScenarioError, match="group 'links' has no probe"):
        chosen(("links",), QUICK)


# rounds ------------------------------------------------------------------------------------------------------------
def test_rounds_of_all_probes_are_interleaved_and_each_turn_has_its_seed_and_budget(tmp_path):
    tasks = []

    def note(name):
        def probe(task):
            tasks.append((name, task))
            return next(one.function for one in QUICK if one.name == name)(task)

        return probe

    plan = tuple(Probe(one.name, one.group, note(one.name), one.share, one.always) for one in QUICK)
    calibrate(tmp_path / "m.json", options=Options(rounds=3, budget=8.0), plan=plan)
    assert [(name, task.round) for name, task in tasks] == [(one.name, n) for n in range(3) for one in QUICK]
    assert [task.budget for _, task in tasks] == pytest.approx([2 / 3, 4 / 3, 2 / 3] * 3)
    assert len({task.seed for _, task in tasks}) == len(tasks)


def test_the_profile_tells_where_it_comes_from_and_the_journal_goes(tmp_path):
    profile = calibrate(tmp_path / "m.json", options=Options(rounds=3, seed=5), plan=QUICK)
    assert load_profile(tmp_path / "m.json") == profile
    about = profile.provenance
    assert about["machine"]["cores"] == profile.cores
    assert about["versions"].keys() == {"python", "torch", "parasim"}
    assert about["rounds"] == [1, 2, 3]
    assert about["seed"] == 5
    assert about["skipped"] == {"gpu": "no such device"}
    assert profile.name == "m"
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


def test_a_probe_that_fails_ends_it_and_it_goes_on_from_there(tmp_path):
    calls = []

    def layers(task: Task):
        calls.append(task.round)
        if len(calls) == 2:
            raise RuntimeError("the cable was pulled")
        return QUICK[1].function(task)

    plan = (QUICK[0], Probe("layers", "compute", layers, 2.0))
    out, said = tmp_path / "m.json", []
    with pytest.raises(RuntimeError, match="cable"):
        calibrate(out, options=Options(rounds=3), plan=plan)
    assert not out.exists()
    profile = calibrate(out, options=Options(rounds=3), plan=plan, say=said.append)
    assert said == [f"{suffixed(out)}: 3 turns of probes were done before; going on"]
    assert calls == [0, 1, 1, 2]
    whole = calibrate(tmp_path / "w.json", options=Options(rounds=3), plan=plan)
    assert profile.flops == whole.flops


def test_another_plan_begins_anew_and_says_so(tmp_path):
    out, said = tmp_path / "m.json", []
    calibrate(out, options=Options(rounds=3, keep_journal=True), plan=QUICK)
    calibrate(out, options=Options(rounds=4), plan=QUICK, say=said.append)
    assert said == [f"{suffixed(out)}: begun anew, without 9 turns of another calibration (changed: rounds)"]
    assert load_profile(out).provenance["rounds"] == [1, 2, 3, 4]


def test_a_group_of_probes_changes_its_parts_only(tmp_path):
    out = tmp_path / "m.json"
    before = calibrate(out, options=Options(rounds=3), plan=QUICK)
    after = calibrate(out, options=Options(rounds=4, only=("contention",)), plan=QUICK)
    assert after.kernels == before.kernels
    assert after.flops == before.flops
    assert after.provenance["rounds"] == [1, 2, 3, 4]
    assert after.provenance["before"]["rounds"] == [1, 2, 3]
    assert calibrate(out, options=Options(rounds=4, only=("compute",)), plan=QUICK).flops != before.flops


def test_a_profile_of_another_machine_is_not_changed_in_part(tmp_path):
    out = tmp_path / "m.json"
    calibrate(out, options=Options(rounds=3), plan=QUICK)
    data = json.loads(out.read_text())
    data["provenance"]["machine"]["processor"] = "another"
    out.write_text(json.dumps(data))
    with pytest.raises(CalibrationError, match="of another machine"):
        calibrate(out, options=Options(rounds=3, only=("compute",)), plan=QUICK)
    assert json.loads(out.read_text()) == data


def test_halves_are_fitted_from_one_journal(tmp_path):
    whole = calibrate(tmp_path / "m.json", options=Options(rounds=8, keep_journal=True), plan=QUICK)
    journal = suffixed(tmp_path / "m.json")
    odd, even = (refit([journal], tmp_path / f"{half}.json", Options(half=half)) for half in ("odd", "even"))
    assert odd.provenance["rounds"] == [1, 3, 5, 7]
    assert even.provenance["rounds"] == [2, 4, 6, 8]
    assert odd.provenance["half"] == "odd"
    assert whole.flops.count == odd.flops.count + even.flops.count
    assert refit([journal], tmp_path / "again.json", Options(name="m")).flops == whole.flops


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("m.yaml", {}, "ends in .json"),
        ("no/such/m.json", {}, "is no folder that can be written to"),
        ("m.json", {"rounds": 1}, "--rounds: 1 must be from 2"),
        ("m.json", {"rounds": 3, "half": "odd"}, "half of 3 rounds"),
        ("m.json", {"half": "upper"}, "neither odd nor even"),
        ("m.json", {"device": "tpu"}, "neither cpu nor cuda"),
        ("m.json", {"budget": 0.0}, "--budget"),
        ("m.json", {"only": ("wires",)}, "no group of probes"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(tmp_path, out, options, words):
    def never(task):
        raise AssertionError("measured")
        yield

    with pytest.raises(ScenarioError, match=words):
        calibrate(tmp_path / out, options=Options(**options), plan=(Probe("peaks", "compute", never, always=True),))
    assert list(tmp_path.iterdir()) == []


# the journal -------------------------------------------------------------------------------------------------------
def written(path, turns=3):
    with Journal(path, {"seed": 0}) as journal:
        for number in range(turns):
            journal.add(Turn("links", number, (SEEN,), seconds=0.5, busy=0.01))
    return path


def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path):
    path = written(tmp_path / "m.json.part")
    whole = path.read_bytes()
    for cut in (1, 10, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        with Journal(path, {"seed": 0}) as journal:
            assert [turn.round for turn in journal.turns] == [0, 1]
            assert journal.continued == 2
            journal.add(Turn("links", 2, (SEEN,), seconds=0.5, busy=0.01))
        assert path.read_bytes() == whole


def test_a_journal_torn_in_its_first_line_begins_anew(tmp_path):
    path = written(tmp_path / "m.json.part")
    path.write_bytes(path.read_bytes()[:7])
    with Journal(path, {"seed": 0}) as journal:
        assert journal.turns == []
        assert journal.dropped == ""
    assert read_journal(path) == ({"seed": 0}, [])


def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path):
    path = tmp_path / "m.json.part"
    path.write_bytes(b'{"a": 1}\n')
    with pytest.raises(ScenarioError, match=r"m\.json\.part:1: is no journal: name the FILE.part"):
        read_journal(path)
    with pytest.raises(ScenarioError, match=r"m\.json\.part:1: is no journal"):
        Journal(path, {"seed": 0}).__enter__()
    assert path.read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize(
    ("number", "line", "words"),
    [
        (0, b'{"parasim_journal": 99, "about": {}}', ":1: is no journal"),
        (1, b"\x00\x00", ":2: is no JSON"),
        (1, b"[1]", ":2: is no mapping"),
        (2, b'{"probe": "links"}', ":3: no turn"),
        (2, b'{"probe": "links", "round": 1, "observations": [[1]]}', ":3: no observation"),
        (2, b'{"probe": "links", "round": 1, "observations": [], "colour": 1}', ":3: no turn"),
    ],
)
def test_corrupt_journals_are_refused_with_their_line(tmp_path, number, line, words):
    path = written(tmp_path / "m.json.part")
    lines = path.read_bytes().splitlines()
    lines[number] = line
    path.write_bytes(b"\n".join(lines) + b"\n")
    for use in (lambda: read_journal(path), lambda: Journal(path, {"seed": 0}).__enter__()):
        with pytest.raises(ScenarioError, match=words) as error:
            use()
        assert str(error.value).startswith(str(path))
        assert "delete it and calibrate again" in str(error.value)


def test_two_calibrations_do_not_write_one_journal(tmp_path):
    path = tmp_path / "m.json.part"
    with Journal(path, {}), pytest.raises(ScenarioError, match="another calibration writes it"):
        Journal(path, {}).__enter__()
    with Journal(path, {}) as journal:
        assert journal.turns == []


def test_fitting_a_journal_that_is_not_there(tmp_path):
    with pytest.raises(ScenarioError, match="can't be read"):
        refit([tmp_path / "none.part"], tmp_path / "m.json")


# the machine beside it -----------------------------------------------------------------------------------------------
def test_stolen_time_is_a_share_of_all(tmp_path):
    file = tmp_path / "stat"
    file.write_text("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1\n")
    before = read_ticks(file)
    assert before == Ticks(1000, 850, 0)
    file.write_text("cpu  150 0 60 820 50 0 0 20 0 0\n")
    assert stolen_share(before, read_ticks(file)) == pytest.approx(20 / 100)
    file.write_text("what\n")
    assert read_ticks(file) is None
    assert read_ticks(tmp_path / "none") is None
    assert stolen_share(before, None) is None


# the verb ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--out"),
        (["--out", "m.json", "--budget", "3"], "--budget"),
        (["--out", "m.json", "--only", "wires"], "no group of probes is called 'wires'"),
        (["--out", "m.json", "scheme.workers=2"], "overrides are of scenario files"),
        (["--out", "m.json", "none.yaml"], "none.yaml"),
        (["--out", "m.json", "--fit-only", "j.part", "--rounds", "3"], "--rounds: --fit-only measures nothing"),
        (["--out", "m.json", "--fit-only", "j.part", "none.yaml"], "scenarios: --fit-only measures nothing"),
        (["--out", "m.json", "--fit-only", "none.part"], "none.part: can't be read"),
        (["--out", "m.txt", "--fit-only", "none.part"], "ends in .json"),
        (["--out", "m.json", "--half", "both"], "--half both: fits what was measured before: add --fit-only FILE.part"),
        (["--out", "m.txt", "--fit-only", "none.part", "--half", "both"], "ends in .json"),
        (["--out", "m.json", "--fit-only", __file__], ":1: is no journal: name the FILE.part"),
        (["--out", "m.json", "--only", ""], "no group of probes is called ''"),
    ],
)
def test_wrong_words_are_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_calibrations_at_several_times_are_fitted_together(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b.json"):
        calibrate(name, options=Options(rounds=2, keep_journal=True), plan=QUICK)
    words = ["calibrate", "--fit-only", "a.json.part", "--fit-only", "b.json.part", "--out", "both.json"]
    assert main(words) == 0
    both, one = (load_profile(name) for name in ("both.json", "a.json"))
    assert both.provenance["rounds"] == [1, 2, 3, 4]
    assert both.flops.count == 2 * one.flops.count
    journal = Path("b.json.part").read_text()
    Path("b.json.part").write_text(journal.replace('"device": "cpu"', '"device": "tpu"', 1))
    capsys.readouterr()
    assert main(words) == 2
    assert "b.json.part: can't be fitted together with a.json.part, which differs in device" in capsys.readouterr().err


def test_the_verb_fits_a_journal_and_prints_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calibrate("m.json", options=Options(rounds=4, keep_journal=True), plan=QUICK)
    assert main(["calibrate", "--fit-only", "m.json.part", "--out", "n.json", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path("n.json").read_text())
    assert printed["name"] == "n"
    assert main(["calibrate", "--fit-only", "m.json.part", "--out", "n.json", "--name", "my machine"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("my machine: ")
    assert "arithmetic of a core" in text
    assert "not measured: gpu: no such device" in text


def test_the_schema_of_profiles_is_printed_and_up_to_date(capsys):
    assert main(["schema", "--profile"]) == 0
    assert capsys.readouterr().out == (ROOT / "parasim" / "cluster" / "profile.schema.json").read_text()


# kills -------------------------------------------------------------------------------------------------------------
SCRIPT = """
import sys
from calibration.calibrate import Options, calibrate
from tests.calibrations import QUICK, REAL
calibrate(sys.argv[1], options=Options(rounds=3), plan={"quick": QUICK, "real": REAL}[sys.argv[2]])
"""


def started(out, plan, mark):
    environment = {**os.environ, "PARASIM_TEST_MARK": mark}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(out), plan], env=environment, cwd=ROOT)


def marked(mark):
    """Processes that descend from one that was started with the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"PARASIM_TEST_MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.real
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes as Linux shows them")
def test_kills_at_random_moments_leave_neither_half_a_profile_nor_a_process(tmp_path, kills):
    out, mark, draw = tmp_path / "m.json", f"{os.getpid()}-kill", random.Random(4)
    for _ in range(kills):
        process = started(out, "real", mark)
        time.sleep(draw.uniform(0.0, 4.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.exists():
            load_profile(out)
    process = started(out, "real", mark)
    assert process.wait() == 0
    assert load_profile(out).provenance["rounds"] == [1, 2, 3]
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]
    end = time.monotonic() + 300
    while marked(mark) and time.monotonic() < end:
        time.sleep(0.1)
    assert marked(mark) == []


def test_skips_are_no_errors():
    with pytest.raises(Skipped):
        next(iter(QUICK[2].function(Task(0, 1.0))))


def test_a_profile_is_of_the_cores_or_of_the_gpu():
    on_cpu, on_gpu = ({probe.name for probe in chosen((), PLAN, device)} for device in ("cpu", "cuda"))
    assert on_cpu & on_gpu == {"links", "pairs", "shaped", "collectives", "operations"}
    assert {"peaks", "layers", "contention"} <= on_cpu
    assert "cuda" in on_gpu - on_cpu


def test_a_gpu_is_described_by_its_own_probe(tmp_path):
    def cuda(task):
        for probe in (peaks, layers):
            for one in probe(task):
                yield Observation("cuda", one.kind, one.parameters, one.seconds / 10, one.round, one.at)

    journal = tmp_path / "g.json.part"
    about = {"machine": {"cores": 16, "memory": 1e11, "gpu": "one", "gpus": 2, "gpu_memory": 8e10}, "seed": 0}
    with Journal(journal, about) as writing:
        for number in range(4):
            writing.add(Turn("cuda", number, tuple(cuda(Task(number, 1.0, seed=number)))))
    found = refit([journal], tmp_path / "g.json")
    assert (found.cores, found.memory) == (2, 8e10)
    assert found.flops.low < 10 * FLOPS < found.flops.high
    assert "linear/forward" in found.kernels
