"""The command line: verbs, exit codes, one-line errors, files, and what is not imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import parasim
from parasim.cli import VERBS, main
from parasim.errors import DeadlockError, ProgramError
from parasim.metrics.result import Result
from parasim.trace.aggregate import Aggregates
from parasim.trace.rows import Row
from parasim.trace.table import Trace

EXAMPLE = """\
name: small
workload: {model: {kind: mlp, width: 8}, batch_size: 4}
cluster:
  topology: {kind: star, hosts: 2}
  device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 1 Gbit/s}
scheme: {kind: allreduce}
run: {steps: 2}
"""


def summary(scenario: Any) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "scheme": scenario.scheme.name,
        "clock": "simulated",
        "workers": scenario.scheme.options.workers,
        "steps": scenario.run.steps,
        "seconds": 1.0,
        "seconds_per_step": 0.5,
        "samples_per_second": 16.0,
        "shares": {"compute": 0.5, "transfer": 0.25, "wait": 0.25},
        "bytes_sent_per_worker_per_step": 1e6,
        "messages_sent_per_worker_per_step": 2.0,
        "staleness": {"mean": 0.0, "max": 0, "histogram": {0: 4}},
        "memory_bytes_per_worker": 1e6,
        "loss": {"first": 1.0, "last": float("nan")},
        "calibrated": False,
    }


def simulate(scenario: Any) -> Result:
    return Result(summary(scenario), Trace([Row(0, "worker", 0, "main", "main#0", "compute", t_end=1.0)]))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(parasim, "simulate", simulate, raising=False)
    path = tmp_path / "small.yaml"
    path.write_text(EXAMPLE)
    return str(path)


@pytest.fixture
def variants(example: str) -> str:
    Path(example).write_text(EXAMPLE + "variants: {one: {scheme.workers: 1}, 'a/b': {run.steps: 9}}\n")
    return example


def test_run_prints_a_table(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", example, "scheme.workers=2"]) == 0
    out, err = capsys.readouterr()
    assert "allreduce" in out
    assert "500 ms" in out
    assert "UNCALIBRATED" in out
    assert err == ""


def test_json_is_one_object_or_a_list(variants: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--json", variants, "run.seed=1"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert [(run["variant"], run["workers"], run["steps"]) for run in both] == [("one", 1, 2), ("a/b", 2, 9)]
    assert both[0]["scenario"] == "small [one]"
    assert both[0]["loss"] == {"first": 1.0, "last": None}
    Path(variants).write_text(EXAMPLE)
    assert main(["run", variants, "--json", "run.steps=3"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 3


def test_out_writes_summary_and_trace(example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deep" / "out"
    assert main(["run", example, "--out", str(folder)]) == 0
    assert json.loads((folder / "summary.json").read_text())["steps"] == 2
    assert [row.op for row in Trace.from_csv(folder / "trace.csv")] == ["compute"]
    assert sorted(path.name for path in folder.iterdir()) == ["provenance.json", "summary.json", "trace.csv"]


def test_out_of_several_variants(variants: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    assert main(["run", variants, "--out", str(folder)]) == 0
    names = ["provenance.json", "summary.json", "trace-a_b-simulated.csv", "trace-one-simulated.csv"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert len(json.loads((folder / "summary.json").read_text())) == 2
    monkeypatch.setattr(parasim, "simulate", lambda scenario: Result(summary(scenario), Aggregates()))
    assert main(["run", variants, "--out", str(tmp_path / "sums")]) == 0
    assert sorted(path.name for path in (tmp_path / "sums").iterdir()) == ["provenance.json", "summary.json"]


def test_execute_may_show_the_simulated_run_beside(example: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import calibration

    asked: dict[str, Any] = {}

    def execute(scenario: Any, **options: Any) -> Result:
        asked.update(options)
        return Result({**summary(scenario), "clock": "real"}, Trace())

    monkeypatch.setattr(calibration, "execute", execute, raising=False)
    assert main(["execute", example, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clock"] == "real"
    assert main(["execute", example, "--json", "--beside-simulated", "--record", "r.json"]) == 0
    assert [run["clock"] for run in json.loads(capsys.readouterr().out)] == ["real", "simulated"]
    assert asked == {"record": "r.json"}


@pytest.mark.parametrize(
    "words", [["compressors"], ["models", "lenet5"], ["schema"], ["schemes"], ["validate", "FILE"]]
)
def test_verbs_that_list_write_what_they_print(
    words: list[str], example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [example if word == "FILE" else word for word in words]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == (tmp_path / "out" / f"{words[0]}.txt").read_text()
    assert main([*words, "--json"]) == 0
    assert capsys.readouterr().out == (tmp_path / "out" / f"{words[0]}.json").read_text()


def test_an_empty_name_of_a_folder_is_refused(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", example, "--out", ""]) == 2
    assert capsys.readouterr().err == "parasim run: --out: '' is no name: write --out DIR, or leave it out\n"


def test_validate_and_schemes_and_schema(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", example]) == 0
    assert capsys.readouterr().out == f"{example}: valid: small (allreduce, 2 actors on 2 hosts)\n"
    assert main(["validate", example, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"scenario": "small", "scheme": "allreduce", "actors": 2}]
    assert main(["schemes"]) == 0
    text = capsys.readouterr().out
    assert "allreduce" in text
    assert "staleness" in text
    assert main(["schemes", "--json"]) == 0
    entry = next(e for e in json.loads(capsys.readouterr().out) if e["name"] == "downpour")
    assert entry["family"].keys() == {"concurrency", "consistency", "distribution", "communication", "training"}
    assert {"name": "servers", "type": "int", "default": 1}.items() <= next(
        option for option in entry["options"] if option["name"] == "servers"
    ).items()
    assert main(["compressors"]) == 0
    assert "Seide et al. (2014)" in capsys.readouterr().out
    assert main(["compressors", "--json"]) == 0
    assert [e["bytes"] for e in json.loads(capsys.readouterr().out) if e["name"] == "topk"] == ["8 k"]
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "A parasim scenario"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rnu", "x"], "parasim: unknown verb 'rnu' (did you mean 'run'?)"),
        (["zzz"], f"parasim: unknown verb 'zzz' (verbs: {', '.join(VERBS)})"),
        (["run"], "parasim run: the following arguments are required: file (see parasim run --help)"),
        (["run", "FILE", "--jsn"], "parasim run: unrecognized arguments: --jsn (see parasim run --help)"),
        (["--jsn"], "parasim: unrecognized arguments: --jsn (see parasim --help)"),
        (["run", "absent.yaml"], "absent.yaml: can't be read: No such file or directory: name a scenario file"),
        (["run", "FILE", "run.steps"], "override 'run.steps': write key.path=value, as in scheme.workers=16"),
        (["validate", "FILE", "run.steps=-5"], "override 'run.steps=-5': run.steps: -5 must be at least 1"),
        (["run", "FILE", "--out", "FILE"], "--out: folder FILE can't be made: File exists"),
        (["execute", "FILE", "--record", "FILE/r"], "--record: folder FILE can't be made: File exists"),
        (["run", "FILE", "--variant", "one"], "FILE: has no variants, so no 'one': leave the variant out"),
        (
            ["run", "FILE", "run.steps=10**5000"],
            "override 'run.steps=10**5000': run.steps: '10**5000' is no whole number",
        ),
        (["run", "FILE", 'name="\\e[31m"'], None),
        (["run", "FILE", "--replay", "FILE"], None),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    example: str, words: list[str], line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("FILE", example) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert line is None or err == line.replace("FILE", example) + "\n"


def test_a_record_is_of_one_run(variants: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["execute", variants, "--record", "r.json"]) == 2
    assert "has 2 variants; a record is of one run: choose one with --variant" in capsys.readouterr().err


def test_one_variant_of_a_file(variants: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import calibration
    from parasim.trace.record import Record

    assert main(["run", variants, "--variant", "a/b", "run.seed=1", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["variant"], run["steps"]) == ("a/b", 9)
    assert main(["validate", variants, "--variant", "one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"scenario": "small [one]", "scheme": "allreduce", "actors": 1}]
    assert main(["run", variants, "--variant", "on"]) == 2
    line = f"{variants}:9:1: variants: has no variant 'on' (did you mean 'one'?)\n"
    assert capsys.readouterr().err == line

    path = str(tmp_path / "r.json")
    monkeypatch.setattr(
        calibration, "execute", lambda scenario, record: (Record([[]], {}).save(record), simulate(scenario))[1]
    )
    monkeypatch.setattr(parasim, "simulate", lambda scenario, replay: simulate(scenario))
    assert main(["execute", variants, "--variant", "one", "--record", path]) == 0
    assert main(["run", variants, "--variant", "one", "--replay", path]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("options", [[], ["--json"], ["--beside-simulated"], ["--out", "o"]])
def test_ranks_that_report_nothing_are_silent(
    example: str, tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import calibration

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "execute", lambda scenario: None)
    assert main(["execute", example, *options]) == 0
    assert capsys.readouterr() == ("", "")
    assert not [path for path in tmp_path.rglob("*.*") if path.name != "small.yaml"]


def _strict(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_json_is_strict(
    example: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverged(scenario: Any) -> Result:
        return Result({**simulate(scenario).summary, "loss": {"first": 1.0, "last": value}}, Trace())

    monkeypatch.setattr(parasim, "simulate", diverged)
    assert main(["run", example, "--json", "--out", str(tmp_path / "o")]) == 0
    for text in (capsys.readouterr().out, (tmp_path / "o" / "summary.json").read_text()):
        assert json.loads(text, parse_constant=_strict)["loss"] == {"first": 1.0, "last": None}
    assert main(["run", example]) == 0
    assert f"1->{value:g}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DeadlockError("rank  program\n0     main"), 1, "rank  program\n0     main\n"),
        (ProgramError("send to itself"), 1, "parasim: send to itself (--debug for the traceback)\n"),
        (KeyError("x\ny"), 1, "parasim: KeyError: 'x\\ny' (--debug for the traceback)\n"),
        (MemoryError(), 1, "parasim: MemoryError: no message (--debug for the traceback)\n"),
        (KeyboardInterrupt(), 130, "parasim: interrupted\n"),
    ],
)
def test_other_errors(
    example: str,
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(scenario: Any) -> Result:
        raise error

    monkeypatch.setattr(parasim, "simulate", failing)
    assert main(["run", example]) == code
    assert capsys.readouterr().err == text
    if code == 1:
        assert main(["run", example, "--debug"]) == 1
        assert "Traceback" in capsys.readouterr().err


def test_progress_only_on_a_terminal(example: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["run", example]) == 0
    assert capsys.readouterr().err == "\r\x1b[Ksimulating 1/1: small\r\x1b[K"


def test_help_of_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n  {verb} " in text
        assert main([verb, "--help"]) == 0
        assert f"parasim {verb}" in capsys.readouterr().out


HEAVY = ("torch", "pandas", "matplotlib", "pydantic", "numpy", "scipy", "sklearn", "networkx", "simpy", "ruamel")


@pytest.mark.parametrize(
    "code", ["import parasim, parasim.cli", "import parasim.cli as c; assert c.main(['--help']) == 0"]
)
def test_nothing_heavy_is_imported(code: str) -> None:
    check = f"{code}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=_root())
    assert done.stderr.strip() == "[]"


def test_loading_a_scenario_imports_no_torch(example: str) -> None:
    check = f"import sys\nfrom parasim.scenario import load\nassert 'pydantic' not in sys.modules\nload({example!r})\n"
    check += "print([m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=_root())
    assert done.stdout.strip() == "[]"


def test_help_is_quick() -> None:
    """What it takes is loading modules: some 150, as many as Python starts with."""
    code = "import sys\nfrom parasim.cli import main\nmain(['--help'])\nprint(len(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    assert int(done.stderr) < 300


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        command = [sys.executable, "-m", "parasim.cli", "schema"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False, cwd=_root())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_a_line_that_says_what_to_do() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "parasim.cli", "schema"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=_root())
    said = "parasim: No space left on device: make room there, or write elsewhere\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(("verb", "name"), [("run", "trace.csv"), ("sweep", "points.jsonl")])
def test_a_file_that_is_cut_short_is_named(verb: str, name: str, example: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    code = "import sys\nfrom resource import *\nfrom parasim.cli import main\n"
    code += "setrlimit(RLIMIT_FSIZE, (3000, RLIM_INFINITY))"
    words = [verb, example, "run.steps=40" if verb == "run" else "run.seed=1..5", "--out", str(folder)]
    command = [sys.executable, "-c", f"{code}\nsys.exit(main({words!r}))"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_root())
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"parasim: {folder / name} can't be written: File too large: raise the limit of file sizes")
    assert done.returncode == 1
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    if verb == "sweep":  # what was written down is not lost
        assert main(words) == 0


def test_a_standard_output_that_the_shell_has_closed_is_no_error() -> None:
    command = f"{sys.executable} -m parasim.cli schema >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False, cwd=_root())
    assert (done.returncode, done.stderr) == (0, "")


def _root() -> Path:
    return Path(parasim.__file__).parent.parent
