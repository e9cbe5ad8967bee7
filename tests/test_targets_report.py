"""Time to accuracy as a table and as curves."""

import pytest

import parasim
from parasim.metrics.outcome import Outcome
from parasim.report.compare_files import write_compare
from parasim.report.compare_table import compare_table
from parasim.report.curves_families import families
from parasim.report.curves_plot import curves_figure
from parasim.report.targets import targets_table
from tests.first_on_a_cluster import PICTURE
from tests.golden import ROOT
from tests.test_evaluation import evaluated
from tests.test_scenarios import golden


def summary(seconds, target="accuracy", wanted=0.9, clock="simulated"):
    """Of a run that is evaluated every 10 steps, and reaches its target at the third evaluation (or never)."""
    points = [
        {"steps": 10 * n, "seconds": n * (seconds or 1.0), "samples": 640 * n, "bytes": 1000 * n, "loss": 3.0 - n,
         "accuracy": 0.3 * n}
        for n in range(4)
    ]  # fmt: skip
    if seconds is None:
        points = points[:3]
    found = {
        "clock": clock,
        "data": {"kind": "images", "synthetic": True},
        "evaluation": {"every": "10 steps", "points": points, "wanted": {"figure": target, "value": wanted}},
        "target": None,
    }
    if seconds is not None:
        found["target"] = {**points[3], "missed_at_seconds": points[2]["seconds"], "stopped": False}
    return found


def test_the_table_begins_with_the_fastest_and_ends_with_who_never_came():
    lines = targets_table([summary(2.0), summary(None), summary(1.0)], ["slow", "never", "fast"]).splitlines()
    rows = [line.split() for line in lines[3:6]]
    assert [row[0] for row in rows] == ["fast", "slow", "never"]
    assert rows[0][1:] == ["accuracy", "0.9", "0.9", "3", "s", "2", "s", "30", "1.92k", "3", "kB"]
    assert rows[2][1:] == ["accuracy", "0.9", "0.6", "-", "-", "-", "-", "-"]
    assert "evaluated every 10 steps" in lines[-2]


def test_real_and_simulated_rows_are_told_apart():
    text = targets_table([summary(2.0), summary(1.0, clock="real")], ["a", "a"])
    assert [line.split()[1] for line in text.splitlines()[3:5]] == ["real", "simulated"]


def test_each_run_is_a_line_over_time_steps_and_bytes_with_a_mark_at_its_target():
    drawn = curves_figure([summary(2.0), summary(1.0)], ["slow", "fast"], "who is first")
    assert [axes.get_xlabel() for axes in drawn.axes] == ["time (s)", "steps of each worker", "bytes sent by all"]
    seconds = drawn.axes[0]
    lines = [line.get_xydata().tolist() for line in seconds.lines]
    assert [3.0, pytest.approx(0.9)] in lines[0]  # the fastest first
    assert lines[1] == [[3.0, pytest.approx(0.9)]]
    assert lines[3] == [[6.0, pytest.approx(0.9)]]
    assert seconds.get_xlim()[1] == pytest.approx(1.15 * 6.0)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["fast: 3 s", "slow: 6 s"]
    assert "synthetic data: images" in drawn.texts[-1].get_text()


def test_a_loss_is_drawn_where_it_is_the_target_and_nothing_is_cut_where_one_never_came():
    drawn = curves_figure([summary(2.0, "loss", 0.5), summary(None, "loss", 0.5)], ["a", "b"], "losses")
    assert drawn.axes[0].get_ylabel() == "loss on held-out data"
    assert drawn.axes[0].get_xlim()[1] >= 6.0
    assert drawn.legends[0].get_texts()[1].get_text() == "b: not reached"


def test_a_comparison_shows_and_writes_who_was_first(tmp_path):
    outcomes = [
        Outcome(kind, kind, summary=parasim.simulate(evaluated(kind, 2, target={"loss": 2.25})).summary)
        for kind in ("allreduce", "sequential")
    ]
    assert outcomes[0].figures()["target_steps"] == outcomes[0].summary["target"]["steps"]
    assert "to the target" in compare_table(outcomes)
    write_compare(outcomes, tmp_path, "two")
    assert {"learning.png", "learning.svg"} <= {path.name for path in tmp_path.iterdir()}


def test_the_study_of_dogs_and_cats_has_every_combination_and_runs():
    path = ROOT / "scenarios" / "studies" / "dogs_vs_cats.yaml"
    small = ["run.steps=2", "workload.data.samples=64", "workload.model.width=4", "workload.batch_size=4"]
    cases = parasim.load_all(path, small)
    assert len(cases) == 32
    codes = {case.variant.split(", ")[1] for case in cases}
    assert len({case.scheme.options.algorithm for case in cases}) == len(codes) == 4
    for case in cases[:4] + cases[-4:]:
        result = parasim.simulate(case).summary
        assert result["evaluation"]["points"][-1]["steps"] == 2
        assert result["data"] == {"kind": "images", "synthetic": True}


NAMES = [
    f"{algorithm}, {code}{scaled}"
    for algorithm in ("tree", "ring", "doubling")
    for code in ("fp32", "top-k")
    for scaled in ("", ", scaled", ", at once")
]


def test_many_runs_with_parts_of_names_in_common_are_small_panels():
    """Columns are what decides most, here the code: by a factor of eight."""
    runs = [summary((8.0 if "fp32" in name else 1.0) * (2.0 if "tree" in name else 1.0)) for name in NAMES]
    drawn = curves_figure(runs, NAMES, "who is first")
    assert len(drawn.axes) == 3 * 2
    assert [axes.get_title() for axes in drawn.axes[:2]] == ["top-k\nfirst at 3 s", "fp32\nfirst at 24 s"]
    texts = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert sorted(texts[:3]) == ["doubling", "ring", "tree"]
    assert sorted(texts[3:]) == ["at once", "plain", "scaled"]
    left, right = (
        {line.get_xydata()[-1][0] for line in axes.lines[1:] if len(line.get_xydata()) == 1} for axes in drawn.axes[:2]
    )
    assert left == {3.0, 6.0}
    assert right == {24.0, 48.0}
    for axes in drawn.axes[:2]:
        assert sum(len(line.get_xydata()) > 1 for line in axes.lines) == 9 + 1  # and the target's
        assert axes.get_xscale() == "log"
        assert axes.get_xlim()[1] >= 48.0
    assert drawn.axes[2].get_xscale() == "linear"  # steps are alike


def test_many_runs_without_parts_in_common_are_lines_of_one_panel():
    runs = [summary(1.0 + number) for number in range(18)]
    drawn = curves_figure(runs, [f"run {number}" for number in range(18)], "who is first")
    assert len(drawn.axes) == 3
    assert len(drawn.legends[0].get_texts()) == 18
    assert families(runs, [f"{number}, a" for number in range(18)]) is None
    assert families(runs[:2], ["a, b", "a, b"]) is None


def test_the_study_of_dogs_and_cats_is_told_as_it_comes_out():
    """README.md: its picture, who is first, and where the algorithm matters."""
    assert f"](docs/compression/{PICTURE.name})" in (ROOT / "README.md").read_text()
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    path = ROOT / "scenarios" / "studies" / "dogs_vs_cats.yaml"
    firsts = ("tree, top-k, scaled", "tree, 1-bit, scaled", "Rabenseifner, fp16, scaled", "Rabenseifner, fp32, scaled")
    cases = [parasim.load(path, variant=variant) for variant in ("tree, top-k", *firsts)]
    plain, *found = (parasim.simulate(case).summary["target"]["seconds"] for case in cases)
    assert found == sorted(found)  # the first of each code, as in the picture
    assert found[0] < plain
    seconds = golden("studies_dogs_vs_cats")
    for code in ("fp32", "fp16", "top-k", "1-bit"):
        times = [seconds[f"{algorithm}, {code}"] for algorithm in ("tree", "doubling", "ring", "Rabenseifner")]
        assert (max(times) > 2 * min(times)) == (code in ("fp32", "fp16"))
        assert code not in ("top-k", "1-bit") or len(set(times)) == 1
