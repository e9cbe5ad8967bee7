"""Schemes and variants side by side: which rows there are, what they keep of the file, and what does not run."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import parasim
from parasim.cli import main
from parasim.errors import ScenarioError
from parasim.metrics.outcome import Outcome, speedups
from parasim.report.compare_table import compare_table
from parasim.report.progress import Progress
from parasim.study.compare import compare, compare_cases, read_choices
from parasim.study.words import split_outside

EXAMPLE = """\
name: four machines
workload: {model: {kind: mlp, width: 16, depth: 4}, batch_size: 8}
cluster:
  topology: {kind: star, hosts: 4}
  device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 1 Gbit/s, latency: 10 us}
scheme: {kind: allreduce, workers: 3, algorithm: rabenseifner}
run: {steps: 3}
"""
VARIANTS = "variants: {ring: {scheme.algorithm: ring}, server: {scheme: {kind: downpour, servers: 2}}}\n"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "four.yaml"
    path.write_text(EXAMPLE)
    return path


def schemes_of(path: Path, *more: Any, **options: Any) -> dict[str, Any]:
    """Each row's section `scheme`."""
    return {case.label: case.tree and case.tree.data["scheme"] for case in compare_cases(path, *more, **options)}


def test_each_scheme_has_its_defaults_and_the_files_workers(example: Path) -> None:
    assert schemes_of(example, "allreduce, downpour ( servers=2 ),gpipe,sequential") == {
        "allreduce": {"kind": "allreduce", "workers": 3, "algorithm": "rabenseifner"},  # the file's own keeps its own
        "downpour ( servers=2 )": {"kind": "downpour", "workers": 3, "servers": 2},
        "gpipe": {"kind": "gpipe", "workers": 3},
        "sequential": {"kind": "sequential"},
    }


def test_an_alias_is_the_files_own_scheme_too(example: Path) -> None:
    assert schemes_of(example, ["ssgd(algorithm=ring, workers=2)"]) == {
        "ssgd(algorithm=ring, workers=2)": {"kind": "allreduce", "workers": 2, "algorithm": "ring"}
    }


def test_overrides_come_between_the_file_and_the_options_of_an_entry(example: Path) -> None:
    found = schemes_of(example, "gpipe,gpipe(workers=4)", ["scheme.workers=2", "scheme.micro_batches=4"])
    assert [(section["workers"], section["micro_batches"]) for section in found.values()] == [(2, 4), (4, 4)]
    with pytest.raises(ScenarioError, match=r"override 'scheme.kind=gpipe': --schemes chooses the scheme"):
        compare_cases(example, "gpipe", ["scheme.kind=gpipe"])


def test_variants_are_compared_without_schemes(example: Path) -> None:
    with pytest.raises(ScenarioError, match="has no variants to compare: name schemes, as in --schemes allreduce"):
        compare(example)
    example.write_text(EXAMPLE + VARIANTS)
    assert [(outcome.label, outcome.scheme) for outcome in compare(example)] == [
        ("ring", "allreduce"),
        ("server", "downpour"),
    ]


def test_variants_that_differ_in_their_scheme_alone_count_once(example: Path) -> None:
    example.write_text(EXAMPLE + VARIANTS)
    assert schemes_of(example, "allreduce,adpsgd") == {
        "allreduce": {"kind": "allreduce", "workers": 3, "algorithm": "rabenseifner"},
        "adpsgd": {"kind": "adpsgd", "workers": 3},
    }
    assert list(schemes_of(example, "adpsgd", variant="ring")) == ["ring: adpsgd"]
    example.write_text(EXAMPLE + VARIANTS.replace("}}}", "}}, big: {workload.batch_size: 64}}"))
    assert list(schemes_of(example, "adpsgd,gpipe")) == [
        "ring / server: adpsgd",
        "ring / server: gpipe",
        "big: adpsgd",
        "big: gpipe",
    ]


def test_a_row_is_what_running_it_alone_gives(example: Path) -> None:
    alone = parasim.simulate(parasim.load(example, ["scheme={kind: downpour, workers: 3, servers: 2}"])).summary
    (row,) = compare(example, "downpour(servers=2)")
    assert row.summary is not None
    walls = {"wall_seconds", "simulation_seconds"}
    assert {k: v for k, v in row.summary.items() if k not in walls} == {
        k: v for k, v in alone.items() if k not in walls
    }


def test_what_does_not_run_is_a_row_with_the_reason(example: Path) -> None:
    asked = []
    outcomes = compare(example, "gpipe(workers=9),allreduce(bucket=3),gpipe", watch=lambda *say: asked.append(say))
    assert [(bool(o.summary), o.error_kind) for o in outcomes] == [
        (False, "ScenarioError"),
        (False, "ScenarioError"),
        (True, ""),
    ]
    assert "9 stages need at least 9 layers" in outcomes[0].error
    assert "scheme.bucket: unknown key of scheme 'allreduce' (did you mean 'bucket_bytes'?)" in outcomes[1].error
    assert asked == [(0, 3, "gpipe(workers=9)"), (1, 3, "allreduce(bucket=3)"), (2, 3, "gpipe")]
    text = compare_table(outcomes).splitlines()
    assert max(map(len, text[:6])) <= 120
    assert [line.split()[1:] for line in text[3:5]] == [["gpipe", *["-"] * 11], ["allreduce", *["-"] * 11]]
    assert f"DID NOT RUN: gpipe(workers=9): {outcomes[0].error}" in text
    assert "speed-up: samples per second, relative to gpipe." in text


def test_whatever_a_run_raises_is_a_row(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(scenario: Any) -> None:
        raise ZeroDivisionError("first line\nsecond")

    monkeypatch.setattr("parasim.study.simulate.simulate", broken)
    (row,) = compare(example, "gpipe")
    assert (row.error, row.error_kind) == ("ZeroDivisionError: first line", "ZeroDivisionError")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("allreduce,gpip", "--schemes: unknown scheme 'gpip' (did you mean 'gpipe'?)"),
        ("gpipe,gpipe", "--schemes: 'gpipe' is given twice: leave one out"),
        ("gpipe(workers)", "--schemes gpipe(workers): 'workers' is no option: write key=value"),
        ("gpipe(workers=2", "'gpipe(workers=2': a ) is missing"),
        ("gpipe,,adpsgd", "'gpipe,,adpsgd': a value is missing before or after a ','"),
    ],
)
def test_entries_that_are_no_schemes(words: str, message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read_choices(words)
    assert str(error.value) == message


def test_commas_inside_of_brackets_and_quotes_separate_nothing() -> None:
    assert split_outside("a(b, [c, d]), {e: [f, g]} ,'h, i'", ",") == ["a(b, [c, d])", "{e: [f, g]}", "'h, i'"]


def test_speedups_are_relative_to_the_first_row_that_ran() -> None:
    rates = [None, 10.0, 25.0, None]
    rows = [Outcome("", "", summary=rate and {"samples_per_second": rate}) for rate in rates]
    assert speedups(rows) == [None, 1.0, 2.5, None]
    assert speedups(rows[:1]) == [None]


def test_speedups_are_of_the_time_while_all_work_if_workers_end_apart() -> None:
    def row(whole: float, while_all: float) -> Outcome:
        return Outcome("", "", summary={"samples_per_second": whole, "samples_per_second_while_all_work": while_all})

    alike, apart = [row(10, 10.2), row(20, 24.9)], row(10, 90)
    assert speedups(alike) == [1.0, 2.0]
    assert speedups([*alike, apart]) == [1.0, pytest.approx(24.9 / 10.2), pytest.approx(90 / 10.2)]


def test_the_command_writes_a_table_a_picture_and_rows(example: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert (
        main(["compare", str(example), "--schemes", "allreduce,gpipe(workers=7)", "run.steps=2", "--out", str(out)])
        == 0
    )
    text, _ = capsys.readouterr()
    assert "speed-" in text
    assert "DID NOT RUN: gpipe(workers=7)" in text
    names = ["compare.csv", "compare.png", "compare.svg", "provenance.json", "summary.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    rows = list(csv.DictReader(io.StringIO((out / "compare.csv").read_text())))
    assert [(row["label"], row["speedup"], row["steps"]) for row in rows] == [
        ("allreduce", "1.0", "2"),
        ("gpipe(workers=7)", "", ""),
    ]
    assert "7 stages" in rows[1]["error"]
    assert main(["compare", str(example), "--schemes", "allreduce,gpipe(workers=7)", "run.steps=2", "--json"]) == 0
    printed, written = json.loads(capsys.readouterr().out), json.loads((out / "summary.json").read_text())
    for each in (printed[0], written[0]):
        assert each.pop("wall_seconds") >= each.pop("simulation_seconds") > 0
    assert printed == written
    assert [row["error"] is None for row in printed] == [True, False]


def test_no_row_that_runs_is_an_error(example: Path, capsys: Any) -> None:
    assert main(["compare", str(example), "--schemes", "gpipe(workers=7),gpipe(workers=8)"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "7 stages need at least 7 layers" in err
    assert "none of the 2 rows ran" in err


def test_progress_is_a_line_on_a_terminal_and_nothing_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, written in ((True, "\r\x1b[Kdoing 1/3: this\r\x1b[K"), (False, "")):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr("sys.stderr", stream)
        with Progress("doing") as progress:
            progress.show(1, 3, "this")
        assert stream.getvalue() == written


def test_what_is_left_out_is_said_in_a_line(example: Path, capsys: Any) -> None:
    assert main(["run", str(example), "scheme.kind=gpipe"]) == 0
    assert capsys.readouterr().err == (
        "parasim: warning: override 'scheme.kind=gpipe': scheme: left out with the former kind 'allreduce': "
        "algorithm ('gpipe' does not have it)\n"
    )
