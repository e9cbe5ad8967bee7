"""Pictures: what they show, that nothing is clipped, that they survive grey print, and that their bytes are fixed."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from parasim.metrics.outcome import Outcome
from parasim.report import style
from parasim.report.compare_files import write_compare
from parasim.report.compare_plot import compare_figure
from parasim.report.compare_table import compare_columns
from parasim.report.plot_text import notes, wrapped
from parasim.report.sweep_files import write_sweep
from parasim.report.sweep_plot import sweep_figure
from parasim.report.sweep_values import numbers, short_names

LONG = "allreduce(overlap=false, bucket_bytes=100000, algorithm=recursive_doubling, placement={worker: [0, 1, 2, 3]})"


def outcome(label: str, rate: float = 1e4, workers: int = 4, histogram: Any = None, **values: Any) -> Outcome:
    """A row with these figures."""
    histogram = histogram or {"0": 7}
    whole = sum(histogram.values())
    summary = {
        "scheme": "allreduce",
        "clock": "simulated",
        "workers": workers,
        "seconds_per_step": 64 * workers / rate,
        "samples_per_second": rate,
        "shares": {"compute": 0.5, "transfer": 0.3, "wait": 0.2},
        "staleness": {
            "mean": sum(int(value) * times for value, times in histogram.items()) / whole,
            "max": max(map(int, histogram)),
            "histogram": histogram,
        },
        "bytes_sent_per_worker_per_step": 0,
        "messages_sent_per_worker_per_step": 0,
        "memory_bytes_per_worker": 0,
        "loss": None,
        "calibrated": False,
    }
    return Outcome(label, "allreduce", values, summary)


def failed(label: str, why: str = "does not fit", **values: Any) -> Outcome:
    return Outcome(label, "gpipe", values, None, why, "ScenarioError")


ROWS = {
    2: [outcome("ring"), outcome("tree", 2e4)],
    5: [
        outcome("one machine", 0.02),
        outcome("stale", 0.1, histogram={"1": 3, "2": 50, "700": 1}),
        failed("a pipeline", "scenarios/quickstart.yaml:17:9: scheme: 8 stages need at least 8 layers; mlp has 4 " * 3),
        outcome("$x_1$ costs 5 % of {y}", 0.05, histogram={"0": 1, "1": 2}),
        outcome("\u6f22\u5b57", 0.001),
    ],
    12: [outcome(f"{LONG} {number}", 10.0**number, histogram={str(2**number): 1}) for number in range(12)],
}


def texts(figure: Any) -> list[Any]:
    """Every text that is seen; matplotlib keeps ticks outside of the axes too, and draws them not."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
    found = figure.findobj(Text)
    return [text for text in found if text.get_visible() and text.get_text().strip() and text not in hidden]


def check(figure: Any) -> None:
    """Nothing stands out of the figure, labels have units, and there is a legend that says something."""
    with style.house():
        seen = texts(figure)
        for text in seen:
            box = text.get_window_extent()
            assert box.x0 >= -1, text
            assert box.y0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1, text
            assert box.y1 <= figure.bbox.y1 + 1, text
        for axes in figure.axes:
            assert axes.get_xlabel()
            for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
                boxes = [tick.get_window_extent() for tick in ticks if tick in seen and tick.get_rotation() == 0]
                for one, other in itertools.combinations(boxes, 2):
                    assert not one.overlaps(other), f"labels of ticks lie on each other: {ticks}"
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts() if text.get_text()]
        lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
        assert legend.get_window_extent().y1 <= lowest + 1


def test_throughput_is_that_while_all_work_if_workers_end_apart() -> None:
    rows = [outcome("alike", 1000.0), outcome("apart", 500.0)]
    assert all(row.summary is not None for row in rows)
    for row, rate in zip(rows, (1000.0, 4000.0), strict=True):
        row.summary["samples_per_second_while_all_work"] = rate  # type: ignore[index]
    columns = {column.heading: column.cells for column in compare_columns([*rows, Outcome("failed", "x", error="no")])}
    assert columns["samples\nper s"] == ["1k", "500", "-"]
    assert columns["while all\nwork"] == ["1k", "4k", "-"]
    assert columns["speed-\nup"] == ["1x", "4x", "-"]
    assert "while all\nwork" not in {column.heading for column in compare_columns(rows[:1])}
    axes = compare_figure(rows, "title").axes[0]
    assert axes.get_xlabel() == "throughput while all work (samples/s)"
    assert [bar.get_width() for bar in axes.patches] == [1000.0, 4000.0]


@pytest.mark.parametrize("count", ROWS)
def test_a_comparison_shows_everything(count: int) -> None:
    figure = compare_figure(ROWS[count], "a title " * 30)
    check(figure)
    rate, shares, staleness = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "throughput (samples/s)",
        "share of a worker's time (%)",
        "staleness (updates)",
    ]
    names = [label.get_text() for label in rate.get_yticklabels()]
    assert [name.replace("\n", " ")[:5] for name in names] == [row.label[:5] for row in ROWS[count]]
    assert max(len(line) for name in names for line in name.split("\n")) <= 26
    ran = [row for row in ROWS[count] if row.summary is not None]
    assert [bar.get_width() for bar in rate.patches] == [
        row.summary["samples_per_second"] for row in ran if row.summary
    ]
    assert [round(bar.get_width()) for bar in shares.patches] == [50, 30, 20] * len(ran)
    assert shares.get_xlim() == (0, 100)
    low, high = staleness.get_xlim()
    for bar in staleness.patches:
        assert low <= bar.get_x() <= bar.get_x() + bar.get_width() <= high
    reasons = [text.get_text() for text in figure.texts if text.get_text().startswith("did not run")]
    assert len(reasons) == len(ROWS[count]) - len(ran)
    assert any("uncalibrated" in text.get_text() for text in figure.texts)


def test_a_histogram_of_staleness_has_each_gradient_once() -> None:
    times = {"0": 1, "3": 4, "99": 2, "100": 3}
    _, _, axes = compare_figure([outcome("one", histogram=times)], "").axes
    width = {round(bar.get_width() / 0.9) for bar in axes.patches}
    assert width == {3}  # 101 values in at most 40 bars
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
    highest = min(heights.values())
    assert {middle: height / highest for middle, height in heights.items()} == {1: 0.2, 4: 0.8, 100: 1.0}
    mean, largest = sorted(line.get_xdata()[0] for line in axes.lines)
    assert (mean, largest) == (pytest.approx((12 + 198 + 300) / 10), 100)


def scaling(count: int, kinds: tuple[str, ...]) -> list[Outcome]:
    return [
        outcome("", (1e3 - 50 * row) * 2**place, 2**place, **{"scheme.workers": 2**place, "scheme.kind": kind})
        for row, kind in enumerate(kinds)
        for place in range(count)
    ]


def test_scaling_shows_throughput_efficiency_and_the_ideal() -> None:
    rows = scaling(4, ("a", "b"))
    rows[-1] = outcome("", 3200.0, 8, **rows[-1].values)
    rows.append(failed("", **{"scheme.workers": 16, "scheme.kind": "a"}))
    figure = sweep_figure([["scheme.workers"], ["scheme.kind"]], rows, "scaling")
    check(figure)
    rate, efficiency = figure.axes
    assert (rate.get_ylabel(), efficiency.get_ylabel()) == ("throughput (samples/s)", "efficiency (%)")
    assert (rate.get_xlabel(), rate.get_xscale(), rate.get_yscale()) == ("workers", "log", "log")
    first, ideal, second, _ = rate.lines
    assert list(first.get_xdata()) == [1, 2, 4, 8]
    assert list(first.get_ydata()) == list(ideal.get_ydata()) == [1000, 2000, 4000, 8000]
    assert list(second.get_ydata()) == [950, 1900, 3800, 3200]
    assert list(efficiency.lines[1].get_ydata()) == pytest.approx([100, 100, 100, 100 * 400 / 950])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["scheme.kind=a", "scheme.kind=b", "ideal"]
    assert any("1 of 9 points did not run" in text.get_text() for text in figure.texts)


def test_workers_that_follow_the_hosts_are_an_axis_of_workers() -> None:
    rows = [outcome("", 1e3, number - 1, **{"cluster.topology.hosts": number}) for number in (3, 4, 5)]
    rate, _ = sweep_figure([["cluster.topology.hosts"]], rows, "hosts").axes
    assert list(rate.lines[0].get_xdata()) == [2, 3, 4]
    assert (rate.get_xscale(), rate.get_ylim()[0]) == ("linear", 0)


def test_another_number_shows_the_time_per_step() -> None:
    keys = [["cluster.link.bandwidth"], ["scheme.algorithm"]]
    rows = [
        outcome("", rate * (1 + fast), 1, **{"cluster.link.bandwidth": text, "scheme.algorithm": name})
        for fast, name in enumerate(("ring", "tree"))
        for text, rate in (("10 Gbit/s", 8e3), ("100 Mbit/s", 1e3), ("1 Gbit/s", 4e3))
    ]
    figure = sweep_figure(keys, rows, "bandwidth")
    check(figure)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("cluster.link.bandwidth", "time per step (ms)")
    assert list(axes.lines[0].get_xdata()) == [1.25e7, 1.25e8, 1.25e9]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([64, 16, 8])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100 Mbit/s", "1 Gbit/s", "10 Gbit/s"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["algorithm=ring", "algorithm=tree"]


def test_throughputs_far_apart_are_told_apart() -> None:
    keys = [["cluster.link.bandwidth"], ["scheme.workers"]]
    rows = [
        outcome("", rate * n, n, **{"cluster.link.bandwidth": text, "scheme.workers": n})
        for text, rate in (("1 Mbit/s", 0.02), ("1 Tbit/s", 1e3))
        for n in (2, 4)
    ]
    rate, efficiency = sweep_figure(keys, rows, "far apart").axes
    assert (rate.get_xscale(), rate.get_yscale(), efficiency.get_yscale()) == ("linear", "log", "linear")
    low, high = rate.get_ylim()
    assert 0.01 < low < 0.04 < 4e3 < high < 1e4
    assert sweep_figure(keys, rows[2:], "near").axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("key", ["workload.batch_size", "scheme.workers"])
def test_no_marker_is_cut_off_at_the_top(key: str) -> None:
    """Values that hardly differ: times per step; and efficiencies, all near 100 %."""
    rows = [outcome("", 1e3 * n * (1 + 1e-4 * n), n, **{key: n}) for n in (1, 2, 3)]
    for axes in sweep_figure([[key]], rows, "flat").axes:
        low, high = axes.get_ylim()
        most = max(max(line.get_ydata()) for line in axes.lines)
        assert (low, axes.get_yscale()) == (0, "linear")
        assert 1.02 * most < high < 1.2 * most


def test_a_picture_names_the_data_sheets_it_rests_on() -> None:
    rows = [outcome("a"), outcome("b"), outcome("c")]
    assert [row.summary is not None for row in rows] == [True] * 3
    sheets = [
        (),
        ("A100 in float32: NVIDIA (2020)", "K80 in float32: NVIDIA (2014)"),
        ("A100 in float32: NVIDIA (2020)",),
    ]
    rows = [
        Outcome(r.label, r.scheme, {}, {**(r.summary or {}), "data_sheets": s})
        for r, s in zip(rows, sheets, strict=True)
    ]
    uncalibrated = "uncalibrated: devices are described by"
    assert notes(rows)[0].startswith(f"{uncalibrated} data sheets (A100 in float32, K80 in float32) or plain numbers,")
    assert notes(rows[1:])[0].startswith(f"{uncalibrated} data sheets (A100 in float32, K80 in float32), not")
    assert notes(rows[:1])[0].startswith(f"{uncalibrated} plain numbers, not")
    many = {**(rows[0].summary or {}), "data_sheets": [f"D{number} in float32: x" for number in range(5)]}
    assert "(D0 in float32, D1 in float32, D2 in float32 and 2 more)" in notes([Outcome("", "", {}, many)])[0]


def test_labels_of_ticks_that_would_touch_are_tilted() -> None:
    sizes = [f"{number}000000000000 B" for number in range(10, 19)]
    rows = [outcome("", 1e3, 1, **{"scheme.bucket_bytes": size}) for size in sizes]
    figure = sweep_figure([["scheme.bucket_bytes"]], rows, "bytes")
    check(figure)
    assert {tick.get_rotation() for tick in figure.axes[0].get_xticklabels()} == {35}


def test_words_are_shown_as_a_comparison_and_too_many_lines_are_told() -> None:
    rows = [outcome("", 1e3, **{"scheme.algorithm": f"name{number}"}) for number in range(30)]
    figure = sweep_figure([["scheme.algorithm"]], rows, "words")
    check(figure)
    assert len(figure.axes[0].get_yticklabels()) == 24
    assert any("the first 24 of 30 points" in text.get_text() for text in figure.texts)
    figure = sweep_figure([["scheme.workers"], ["scheme.kind"]], scaling(3, tuple("abcdefghijklmn")), "lines")
    check(figure)
    assert any("12 of 14 lines are shown" in text.get_text() for text in figure.texts)
    assert len(figure.legends[0].get_texts()) == 13


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    rows = scaling(3, ("a", "b"))
    for folder in ("one", "two"):
        write_compare(ROWS[5], tmp_path / folder, "five")
        write_sweep([["scheme.workers"], ["scheme.kind"]], rows, tmp_path / folder, "scaling")
        monkeypatch.setitem(mpl.rcParams, "font.size", 20)  # whatever the user has set
        monkeypatch.setitem(mpl.rcParams, "savefig.dpi", 30)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert [name for name in names if name.endswith(("png", "svg"))] == [
        *("compare.png", "compare.svg", "sweep.png", "sweep.svg")
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert not re.search(r"20\d\d-\d\d", (tmp_path / "one" / "compare.svg").read_text())


def test_looks_survive_grey_print() -> None:
    from matplotlib.colors import to_rgb

    def luminance(color: str) -> float:
        red, green, blue = to_rgb(color)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    areas = [luminance(look.face) for look in (style.COMPUTE, style.TRANSFER, style.WAIT)]
    assert areas[0] < areas[1] - 0.2 < areas[2] - 0.4
    assert len({look.hatch for look in (style.COMPUTE, style.TRANSFER, style.WAIT)}) == 3
    for one, other in itertools.combinations(style.SERIES[:12], 2):
        assert (one.marker, one.dashes) != (other.marker, other.dashes) or one.color != other.color
    for one, other in itertools.pairwise(style.SERIES[:5]):
        assert luminance(one.color) < luminance(other.color) - 0.05
        assert one.marker != other.marker


def test_names_are_wrapped_where_words_end() -> None:
    assert wrapped("allreduce(overlap=false, algorithm=ring)", 16, 3) == "allreduce(\noverlap=false,\nalgorithm=ring)"
    assert wrapped("bucket_bytes=1000000000", 14, 3) == "bucket_bytes=\n1000000000"
    assert wrapped("one two three four five", 9, 2) == "one two\nthree fo\u2026"
    assert wrapped("x" * 40, 10, 2) == "x" * 9 + "\u2026"


def test_short_names_tell_keys_apart() -> None:
    assert short_names([["scheme.kind"], ["cluster.topology.kind", "run.seed"], ["run.steps"]]) == [
        *("scheme.kind", "topology.kind, seed", "steps")
    ]
    assert short_names([["workload.model.kind"], ["scheme.workers"]]) == ["model.kind", "workers"]


def test_numbers_of_one_dimension() -> None:
    assert numbers(["1", "2.5"]) == [1.0, 2.5]
    assert numbers(["10 us", "1 ms"]) == [1e-5, 1e-3]
    assert numbers(["10 us", "1 GB"]) is None
    assert numbers(["true", "1"]) is None
