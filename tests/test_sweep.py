"""Grids of scenarios: their points, on any number of processes, killed and continued."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import parasim
from parasim.cli import main
from parasim.errors import ScenarioError, ScenarioWarning
from parasim.scenario.documents import read_documents
from parasim.study.grid import grid_cases, read_axes
from parasim.study.identity import identity_of
from parasim.study.pool import run_cases
from parasim.study.sweep import sweep

EXAMPLE = """\
name: tiny
workload: {model: {kind: mlp, width: 8, depth: 2}, batch_size: 4}
cluster:
  topology: {kind: star, hosts: 2}
  device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 1 Gbit/s, latency: 10 us}
scheme: {kind: allreduce}
run: {steps: 2}
"""
ROOT = Path(parasim.__path__[0]).parent
FILES = ("sweep.csv", "sweep.parquet", "sweep.png", "sweep.svg")
GRID = (
    "scheme.workers,cluster.topology.hosts=1..3",
    "scheme.kind=allreduce,gpipe",
)  # gpipe has 2 layers: 1 point fails


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(EXAMPLE)
    return path


def entries(folder: Path) -> list[dict[str, Any]]:
    """The points in a folder's file, in the order in which they were written."""
    return [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()[1:]]


def gone(pids: list[int]) -> bool:
    """Has every process ended (or is nothing but a zombie)?"""
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                return False
        except FileNotFoundError:
            continue
    return True


def until(what: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait for something, not for ever."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# the grid ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("a.b=2,4,8", [2, 4, 8]),
        ("a.b=2..64*2", [2, 4, 8, 16, 32, 64]),
        ("a.b=2..65*3", [2, 6, 18, 54]),
        ("a.b=1..3", [1, 2, 3]),
        ("a.b=0.1..0.3+0.1", [0.1, 0.2, 0.3]),
        ("a.b=1..100*10 Gbit/s,7 Mbit/s", ["1 Gbit/s", "10 Gbit/s", "100 Gbit/s", "7 Mbit/s"]),
        ("a.b=[1, 2],[3]", [[1, 2], [3]]),
        ("a.b='x, y',{c: [1, 2], d: e}", ["x, y", {"c": [1, 2], "d": "e"}]),
        ("a.b=true,null,-3", [True, None, -3]),
    ],
)
def test_values_of_a_key(words: str, values: list[Any]) -> None:
    (axis,), fixed = read_axes([words])
    assert axis.keys == ("a.b",)
    assert [override.value for _, (override,) in axis.values] == values
    assert fixed == []


def test_keys_that_move_together() -> None:
    (same, each), fixed = read_axes(["a.b,c=1,2", "d,e=(1,[2, 3]),(4,5)", "f.g=6", "h,i=7"])
    assert [[(o.path, o.value) for o in overrides] for _, overrides in same.values] == [
        [(("a", "b"), 1), (("c",), 1)],
        [(("a", "b"), 2), (("c",), 2)],
    ]
    assert [[o.value for o in overrides] for _, overrides in each.values] == [[1, [2, 3]], [4, 5]]
    assert [(override.path, override.value) for override in fixed] == [(("f", "g"), 6), (("h",), 7), (("i",), 7)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scheme.workers"], "override 'scheme.workers': write key.path=value, as in scheme.workers=16"),
        (["a="], "override 'a=': has no value: write a=value ('null' removes the key)"),
        (["a=1,,2"], "'1,,2': a value is missing before or after a ','"),
        (["a=[1,2"], "'[1,2': a ] is missing"),
        (["a=1,2,1"], "'a=1,2,1': 1 is given twice: leave one out"),
        (["a=5..1"], "'a=5..1': 5..1 is no range: write 1..10, 0..1+0.25 or 2..64*2, from low to high"),
        (["a=0..8*2"], "'a=0..8*2': 0..8*2 is no range: write 1..10, 0..1+0.25 or 2..64*2, from low to high"),
        (["a=0..9+0"], "'a=0..9+0': 0..9+0 is no range: write 1..10, 0..1+0.25 or 2..64*2, from low to high"),
        (["a=0..1+0.000001"], "'a=0..1+0.000001': 0..1+0.000001 has more than 100000 values, the limit"),
        (["a,b=(1,2,3),4"], "'a,b=(1,2,3),4': (1,2,3) has 3 values for 2 keys"),
        (["a.b=1,2", "a.b=3"], "override 'a.b=3': the key is set twice: leave one out"),
        (["variants.x=1,2"], "override 'variants.x=1': variants can't be overridden: edit the file"),
    ],
)
def test_words_that_are_no_grid(words: list[str], message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read_axes(words)
    assert str(error.value) == message


def test_points_go_by_variants_then_axes_the_last_one_fastest(example: Path) -> None:
    example.write_text(EXAMPLE + "variants: {one: {}, two: {run.steps: 5}}\n")
    axes, fixed = read_axes(["run.seed=1,2", "workload.batch_size=4,8", "run.trace=aggregate"])
    cases = grid_cases(read_documents(example), axes, fixed)
    assert [case.label for case in cases[:3]] == [
        "one run.seed=1 workload.batch_size=4",
        "one run.seed=1 workload.batch_size=8",
        "one run.seed=2 workload.batch_size=4",
    ]
    assert cases[-1].values == {"variant": "two", "run.seed": 2, "workload.batch_size": 8}
    assert cases[-1].tree is not None
    assert cases[-1].tree.data["run"] == {"steps": 5, "seed": 2, "trace": "aggregate"}
    assert len({identity_of(case.tree, case.variant) for case in cases if case.tree}) == len(cases) == 8


def test_a_grid_of_too_many_points_is_refused(example: Path) -> None:
    axes, fixed = read_axes(["run.seed=1..1000", "run.steps=1..1000"])
    with pytest.raises(ScenarioError, match="the grid has 1000000 points; the limit is 100000"):
        grid_cases(read_documents(example), axes, fixed)


def test_an_identity_follows_the_files_that_a_document_names(example: Path, tmp_path: Path) -> None:
    example.write_text(EXAMPLE.replace("{kind: star, hosts: 2}", "{kind: graph, file: net.json}"))
    tree = read_documents(example).base
    found = []
    for text in ("one", "two", "one"):
        (tmp_path / "net.json").write_text(text)
        found.append(identity_of(tree, ""))
    assert found[0] == found[2] != found[1]


# running it ----------------------------------------------------------------------------------------------------------
def test_every_point_is_what_running_it_alone_gives(example: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = sweep(example, GRID, jobs=2, watch=lambda n, of, _: seen.append((n, of)))
    assert seen == [(number, 6) for number in range(7)]
    assert [(o.values["scheme.workers"], o.values["cluster.topology.hosts"], o.scheme) for o in done.outcomes] == [
        (number, number, scheme) for number in (1, 2, 3) for scheme in ("allreduce", "gpipe")
    ]
    alone = parasim.simulate(parasim.load(example, ["cluster.topology.hosts=3"])).summary
    third = done.outcomes[4].summary
    assert third is not None
    walls = ("wall_seconds", "simulation_seconds")
    kept = {key: value for key, value in alone.items() if key not in walls}
    assert {key: value for key, value in third.items() if key not in walls} == json.loads(json.dumps(kept))
    assert "3 stages need at least 3 layers" in done.outcomes[5].error


@pytest.mark.parametrize("order", [1, pytest.param(-1, marks=pytest.mark.slow)])
def test_the_number_of_processes_changes_nothing(example: Path, tmp_path: Path, order: int, capsys: Any) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, jobs in zip(folders, ("1", "2")[::order], strict=True):
        assert main(["sweep", str(example), *GRID, "--out", str(folder), "--jobs", jobs]) == 0
    texts = capsys.readouterr().out
    assert texts[: len(texts) // 2] == texts[len(texts) // 2 :]
    for name in FILES:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


@pytest.mark.usefixtures("in_this_process")
def test_rows_of_csv_parquet_and_json_agree(example: Path, tmp_path: Path, capsys: Any) -> None:
    import pandas as pd

    words = [*GRID, "cluster.link.bandwidth=1 Gbit/s,10 Gbit/s", "run.seed=3"]
    assert main(["sweep", str(example), *words, "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "sweep.csv").read_text())))
    frame = pd.read_parquet(tmp_path / "out" / "sweep.parquet")
    assert printed["keys"] == ["scheme.workers", "cluster.topology.hosts", "scheme.kind", "cluster.link.bandwidth"]
    assert len(printed["points"]) == len(rows) == len(frame) == 12
    assert list(frame.columns) == list(rows[0])
    for number, (point, row) in enumerate(zip(printed["points"], rows, strict=True)):
        assert {key: str(value) for key, value in point["values"].items()} == {key: row[key] for key in printed["keys"]}
        assert (point["error"] or "") == row["error"]
        seconds = point["summary"] and point["summary"]["seconds_per_step"]
        assert row["seconds_per_step"] == ("" if seconds is None else repr(seconds))
        assert seconds is None or frame.seconds_per_step[number] == seconds
        assert str(frame["cluster.topology.hosts"][number]) == row["cluster.topology.hosts"]


@pytest.mark.usefixtures("in_this_process")
def test_rows_of_files_say_what_is_synthetic_and_from_a_data_sheet(example: Path, tmp_path: Path) -> None:
    import pandas as pd

    words = ["workload.data={kind: classification},{kind: digits}", "run.learn=true,false", "run.steps=2"]
    words += [
        "cluster.device=V100",
        "workload.model={kind: mlp, width: 8, depth: 2}",
        "scheme={kind: allreduce, workers: 2}",
    ]
    assert main(["sweep", str(example), *words, "--out", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "sweep.csv").read_text())))
    assert [row["synthetic_data"] for row in rows] == ["classification", "", "", ""]
    assert all(row["data_sheets"].startswith("V100-SXM2 in float32: NVIDIA") for row in rows)
    frame = pd.read_parquet(tmp_path / "out" / "sweep.parquet")
    assert list(frame["data_sheets"]) == [row["data_sheets"] for row in rows]


@pytest.mark.usefixtures("in_this_process")
def test_a_sweep_is_continued_whatever_the_grid_is_then(example: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    first = sweep(example, ["run.seed=1,2,3"], out, 1)
    assert (first.continued, first.left_out) == (0, 0)
    more = sweep(example, ["run.seed=2..5"], out, 2)
    assert (more.continued, more.left_out) == (2, 1)
    assert [outcome.values for outcome in more.outcomes] == [{"run.seed": seed} for seed in (2, 3, 4, 5)]
    assert len(entries(out)) == 5
    assert more.outcomes[0] == first.outcomes[1]
    assert main(["sweep", str(example), "run.seed=2..5", "--out", str(out)]) == 0
    assert (
        capsys.readouterr().err
        == "parasim: 4 points done before\nparasim: 1 point in the folder, not of this grid: left out\n"
    )


@pytest.mark.usefixtures("in_this_process")
def test_two_places_of_a_grid_may_be_one_point(example: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = sweep(example, ["scheme={kind: allreduce},{kind: allreduce, }"], out, 2)
    assert [outcome.summary for outcome in done.outcomes] == [done.outcomes[0].summary] * 2
    assert len(entries(out)) == 1


@pytest.mark.usefixtures("in_this_process")
def test_another_sweep_in_the_folder_is_told_not_mixed(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    sweep(example, ["run.seed=1,2", "run.steps=3"], out, 1)
    before = (out / "points.jsonl").read_bytes()
    with pytest.raises(
        ScenarioError, match=r"holds 2 points of another sweep .it had other overrides.: choose another"
    ):
        sweep(example, ["run.seed=1,2", "run.steps=4"], out, 1)
    example.write_text(EXAMPLE.replace("10 us", "20 us"))
    with pytest.raises(ScenarioError, match=r"of another sweep .the scenario file has changed since.: choose another"):
        sweep(example, ["run.seed=1,2", "run.steps=3"], out, 1)
    example.write_text(EXAMPLE + "# a comment changes nothing\n")
    with monkeypatch.context() as context:
        context.setattr("parasim.study.sweep.simulator", lambda: "0.0.1 (12345678)")
        with pytest.raises(
            ScenarioError, match=r"of another sweep .it was made by another version of parasim.: choose"
        ):
            sweep(example, ["run.seed=1,2", "run.steps=3"], out, 1)
    assert sweep(example, ["run.seed=1,2", "run.steps=3"], out, 1).continued == 2
    assert (out / "points.jsonl").read_bytes() == before


def test_a_file_that_is_no_sweep_is_left_alone(example: Path, tmp_path: Path) -> None:
    for text in ('{"a": 1}\n', "[]\n", "word\n"):
        (tmp_path / "points.jsonl").write_text(text)
        with pytest.raises(ScenarioError, match=r"points.jsonl:1: is no point of a sweep: choose another --out"):
            sweep(example, ["run.seed=1,2"], tmp_path, 1)
        assert (tmp_path / "points.jsonl").read_text() == text


@pytest.mark.usefixtures("in_this_process")
def test_one_sweep_at_a_time_has_a_folder(example: Path, tmp_path: Path) -> None:
    import fcntl

    sweep(example, ["run.seed=1,2"], tmp_path, 1)
    with (tmp_path / "points.jsonl").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ScenarioError, match="another sweep is writing here"):
            sweep(example, ["run.seed=1,2"], tmp_path, 1)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_last_line_is_run_again(example: Path, tmp_path: Path, cut: int) -> None:
    first = sweep(example, ["run.seed=1,2,3"], tmp_path, 1)
    path = tmp_path / "points.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.warns(ScenarioWarning, match="the last line was cut short by a kill: its point is run again"):
        again = sweep(example, ["run.seed=1,2,3"], tmp_path, 1)
    assert again.continued == 2
    assert [outcome.figures() for outcome in again.outcomes] == [outcome.figures() for outcome in first.outcomes]
    assert len({entry["point"] for entry in entries(tmp_path)}) == len(entries(tmp_path)) == 3


def test_nothing_to_vary_is_an_error(example: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nothing to vary: give a key several values, as in scheme.workers=2,4,8"):
        sweep(example, ["run.steps=3"])
    with pytest.raises(ScenarioError, match="--jobs: 0 is no number of processes: write 1 or more"):
        sweep(example, ["run.steps=3,4"], jobs=0)


def test_no_point_that_runs_is_an_error(example: Path, capsys: Any) -> None:
    assert main(["sweep", str(example), "scheme.wrokers=1,2", "--jobs", "1"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "scheme.wrokers: unknown key of scheme 'allreduce' (did you mean 'workers'?)" in err


def test_a_script_needs_no_guard_and_no_file(example: Path) -> None:
    script = (
        f"import parasim; done = parasim.sweep({str(example)!r}, ['scheme.workers=1,2']); "
        "print([point.summary['workers'] for point in done.outcomes])"
    )
    run = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "[1, 2]\n"


# what goes wrong -----------------------------------------------------------------------------------------------------
def test_a_process_that_dies_takes_only_its_point_along(example: Path, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os, signal\ndef make(): os.kill(os.getpid(), signal.SIGKILL)\n")
    (tmp_path / "quiet.py").write_text("import os, sys\ndef make():\n print('no luck', flush=True); os._exit(3)\n")
    models = "workload.model={kind: module, factory: 'deadly:make'},{kind: module, factory: 'quiet:make'},{kind: mlp}"
    words = [models, "workload.data={kind: digits}"]
    done = sweep(example, words, tmp_path / "out", 1, allow_code=True)
    assert [outcome.error for outcome in done.outcomes] == [
        "its process was killed by signal 9 (out of memory?)",
        "its process ended with status 3: no luck",
        "",
    ]
    assert [entry["scheme"] for entry in entries(tmp_path / "out")] == ["allreduce"]  # the others are run again then


def test_processes_have_one_thread_each_and_end_with_the_iterator(example: Path) -> None:
    axes, fixed = read_axes(["run.seed=1..8", "run.steps=300"])
    running = run_cases(grid_cases(read_documents(example), axes, fixed), 2)
    next(running)
    pids = children(os.getpid())
    assert len(pids) == 2
    for pid in pids:
        settings = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert {b"OMP_NUM_THREADS=1", b"OPENBLAS_NUM_THREADS=1", b"MKL_NUM_THREADS=1"} <= set(settings)
    running.close()
    assert gone(pids)


def children(pid: int) -> list[int]:
    """Processes that run points for a process."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"parasim.study.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


LATER_ENDS = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("end", [signal.SIGKILL, *(pytest.param(end, marks=pytest.mark.slow) for end in LATER_ENDS)])
def test_a_sweep_that_was_ended_is_continued(
    example: Path, tmp_path: Path, end: signal.Signals, capsys: Any, request: pytest.FixtureRequest
) -> None:
    out, words = tmp_path / "out", ["run.seed=1..8", "run.steps=600"]
    command = [sys.executable, "-m", "parasim", "sweep", str(example), *words, "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=ROOT,
    )
    try:
        path = out / "points.jsonl"
        until(lambda: path.exists() and path.read_bytes().count(b"\n") >= 3)
        workers = children(process.pid)
        os.killpg(process.pid, end)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    until(lambda: gone(workers))
    before = path.read_bytes()
    done = before.count(b"\n") - 1
    assert 2 <= done <= 8
    assert workers or done == 8
    if done < 8 or process.returncode:  # else it was over before this process came to end it
        assert process.returncode == (130 if end == signal.SIGINT else -end)
    assert err == (b"parasim: interrupted\n" if process.returncode == 130 else b"")

    request.getfixturevalue("in_this_process")
    assert main(["sweep", str(example), *words, "--out", str(out), "--jobs", "2"]) == 0
    assert f"parasim: {done} points done before\n" in capsys.readouterr().err
    assert path.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert len({entry["point"] for entry in entries(out)}) == len(entries(out)) == 8
    assert main(["sweep", str(example), *words, "--out", str(tmp_path / "whole"), "--jobs", "2"]) == 0
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
