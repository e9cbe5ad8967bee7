"""Timelines: what is chosen, where the boxes lie, that coloured areas are the shares, and the files."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import parasim
from parasim.cli import main
from parasim.errors import ScenarioError
from parasim.metrics.result import Result
from parasim.report.timeline import Selection, timeline, write_timeline
from parasim.report.timeline_view import Box, view
from parasim.report.timeline_window import actor_order
from parasim.trace.aggregate import Aggregates
from parasim.trace.lanes import COMPUTE, TRANSFER
from parasim.trace.rows import Row
from parasim.trace.spans import ActorSpans, difference, union
from parasim.trace.table import Trace

# 4 layers of 64 x 64 in two stages; only FLOP take time: forward 2 * 64 * 64 per layer and sample, at 1 MFLOP/s
PIPELINE = """\
name: triangle
workload: {model: {kind: mlp, width: 64, depth: 4}, batch_size: 8}
cluster:
  topology: {kind: star, hosts: 4}
  device: {flops: 1 MFLOP/s, memory: 1 GiB, memory_bandwidth: 1 TB/s}
  link: {bandwidth: 1 Tbit/s, latency: 0 s}
scheme: {kind: gpipe, workers: 2, micro_batches: 4}
run: {steps: 6}
"""
QUICKSTART = str(Path(__file__).parents[1] / "scenarios" / "quickstart.yaml")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Result:
    path = tmp_path_factory.mktemp("pipeline") / "triangle.yaml"
    path.write_text(PIPELINE)
    return parasim.simulate(parasim.load(path))


def row(op: str, t_post: float, t_start: float, t_end: float, lane: str = "main", rank: int = 0, **columns: Any) -> Row:
    columns = {"role": "worker", "index": rank, **columns}
    return Row(rank=rank, lane=lane, program=f"{lane}#0", op=op, t_post=t_post, t_start=t_start, t_end=t_end, **columns)


def step(at: float, number: int, rank: int = 0) -> Row:
    return row("log", at, at, at, rank=rank, label="step", step=number)


def summary(**more: Any) -> dict[str, Any]:
    return {"scenario": "s", "scheme": "x", "clock": "simulated", "calibrated": False, **more}


# sets of times -------------------------------------------------------------------------------------------------------
pieces = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda p: (float(min(p)), float(max(p)))))


def cells(intervals: Any) -> set[int]:
    return {cell for start, end in intervals for cell in range(int(start), int(end))}


@given(pieces, pieces)
def test_unions_and_differences_are_those_of_unit_cells(some: Any, others: Any) -> None:
    left = difference(union(some), union(others))
    assert cells(union(some)) == cells(some)
    assert cells(left) == cells(some) - cells(others)
    for merged in (union(some), left):
        assert all(start < end for start, end in merged)
        assert all(before[1] <= after[0] for before, after in pairwise(merged))


# spans ---------------------------------------------------------------------------------------------------------------
def test_main_lane_is_split_as_in_the_figures() -> None:
    # main     |--compute 0..4--|--compute 4..6--|------wait 6..10------|compute 10..11|
    # comm                |........post 4, transfer 5..8|reduce 8..9|          (wait ends at 10: nothing moves 9..10)
    rows = [
        row("compute", 0, 0, 4),
        row("compute", 4, 4, 6),
        row("recv", 4, 5, 8, lane="comm", nbytes=8, message="1:0"),
        row("compute", 8, 8, 9, lane="comm"),
        row("wait", 6, 6, 10, label="comm"),
        row("compute", 10, 10, 11),
    ]
    spans = ActorSpans(0, "worker", 0, rows)
    assert spans.main == [(0, 6, COMPUTE), (6, 8, TRANSFER), (8, 9, COMPUTE), (10, 11, COMPUTE)]
    assert [(r.lane, kind) for r, kind in spans.work].count(("comm", TRANSFER)) == 1
    shown = view(Trace(rows), Selection())
    assert shown.actors[0].lanes[0].waiting == ((9, 10),)
    assert shown.actors[0].lanes[1].waiting == ((4, 5),)


@pytest.mark.parametrize("variant", ["one machine", "all-reduce", "server", "gossip", "pipeline"])
def test_coloured_areas_of_the_main_lane_are_the_shares(variant: str) -> None:
    result = parasim.simulate(parasim.load(QUICKSTART, ["run.learn=false", "run.steps=40"], variant=variant))
    shown = view(result.trace, Selection(0, 39))
    seconds = result.summary["seconds"]
    assert (shown.start, shown.end) == (0, seconds)
    areas = {"compute": 0.0, "transfer": 0.0, "wait": 0.0}
    workers = [actor for actor in shown.actors if actor.role == "worker"]
    for worker in workers:
        main = worker.lanes[0]
        covered = [*main.busy, *main.waiting]
        assert sum(span[1] - span[0] for span in covered) == pytest.approx(seconds, rel=1e-9)
        assert len(union(span[:2] for span in covered)) == 1  # nothing twice, nothing left out
        for start, end, kind in main.busy:
            areas["compute" if kind == COMPUTE else "transfer"] += (end - start) / seconds / len(workers)
        areas["wait"] += sum(end - start for start, end in main.waiting) / seconds / len(workers)
    assert areas == pytest.approx(result.summary["shares"], rel=1e-9, abs=1e-9)


# what is chosen ------------------------------------------------------------------------------------------------------
def test_boxes_of_a_pipeline_lie_where_they_are_calculated(pipeline: Result) -> None:
    shown = view(pipeline.trace, Selection(0, 0))
    forward = 2 * (2 * 64 * 64) * 2 / 1e6  # a stage of 2 layers, 2 samples
    first, last = (
        {(box.kind, box.text): box for box in actor.lanes[0].boxes if box.kind != "compute"} for actor in shown.actors
    )
    for micro in range(4):
        early, late = first["forward", str(micro)], last["forward", str(micro)]
        assert (early.start, early.end) == pytest.approx((micro * forward, (micro + 1) * forward), rel=1e-6)
        assert (late.start, late.end) == pytest.approx(((micro + 1) * forward, (micro + 2) * forward), rel=1e-6)
    turn = 5 * forward  # the last stage has the last micro-batch, and begins with it backward
    back = last["backward", "3"].end - last["backward", "3"].start
    assert back == pytest.approx(2 * forward, rel=1e-6)
    for place, micro in enumerate((3, 2, 1, 0)):
        assert last["backward", str(micro)].start == pytest.approx(turn + place * back, rel=1e-6)
        assert first["backward", str(micro)].start == pytest.approx(turn + (place + 1) * back, rel=1e-6)


def test_default_steps_are_after_warm_up_and_stay_legible(pipeline: Result) -> None:
    assert view(pipeline.trace, Selection()).steps == (2, 5, 6)
    assert view(pipeline.trace, Selection(first_step=4)).steps == (4, 5, 6)
    assert view(pipeline.trace, Selection(last_step=1)).steps == (0, 1, 6)
    shown = view(pipeline.trace, Selection(3, 3))
    ends = {r.step: r.t_end for r in pipeline.trace if r.rank == 0 and r.label == "step"}
    assert (shown.start, shown.end) == (ends[2], ends[3])
    many = [row("compute", i / 50, i / 50, (i + 1) / 50) for i in range(500)] + [step(i + 1.0, i) for i in range(10)]
    assert view(Trace(many), Selection()).steps == (2, 2, 10)  # 50 boxes a step: more than one would not be legible


def test_a_run_without_steps_is_shown_whole() -> None:
    trace = Trace([row("compute", 0, 0, 3.0), row("compute", 3.0, 3.0, 4.0)])
    shown = view(trace, Selection())
    assert (shown.start, shown.end, shown.steps) == (0, 4, None)
    with pytest.raises(ScenarioError, match="logs no steps: leave --from-step"):
        view(trace, Selection(first_step=0))


def test_few_actors_of_many_with_some_of_each_role() -> None:
    rows = [row("compute", 0, 0, 1, rank=r) for r in range(1020)]
    rows += [row("compute", 0, 0, 1, rank=1020 + s, role="server", index=s) for s in range(4)]
    shown = view(Trace(rows), Selection())
    assert [actor.label for actor in shown.actors] == [f"worker {i}" for i in range(12)] + [
        f"server {i}" for i in range(4)
    ]
    assert shown.hidden == (("worker", 1008),)
    assert [actor.label for actor in view(Trace(rows), Selection(actors=1)).actors] == ["worker 0"]
    assert actor_order([(0, "server", 0), (2, "worker", 1), (1, "worker", 0)]) == [
        (1, "worker", 0),
        (2, "worker", 1),
        (0, "server", 0),
    ]


def test_messages_at_one_time_lie_side_by_side_and_cancelled_work_is_marked() -> None:
    rows = [
        row("send", 0, 0, 2, label="exchange", peer=1, message="0:1"),
        row("recv", 0, 1, 3, label="exchange", peer=2, message="2:1"),
        row("compute", 3, 3, 4, label="forward", outcome="cancelled"),
    ]
    (main,) = view(Trace(rows), Selection()).actors[0].lanes
    assert main.boxes == (
        Box(0, 2, "transfer", place=0, places=2),
        Box(1, 3, "transfer", place=1, places=2),
        Box(3, 4, "forward", cancelled=True),
    )


def test_lanes_beyond_eight_are_counted() -> None:
    rows = [row("recv", 0, 0, 1, lane=f"worker {i}", role="server", message=f"{i}:1") for i in range(11)]
    (server,) = view(Trace(rows), Selection()).actors
    assert [lane.name for lane in server.lanes] == [f"worker {i}" for i in range(8)]
    assert server.hidden_lanes == 3
    drawn = timeline(Result(summary(), Trace(rows)))
    assert "... and 3 more lanes" in [text.get_text() for text in drawn.texts]


def test_a_timeline_names_data_sheets_and_stand_ins(tmp_path: Path) -> None:
    rows = Trace([row("compute", 0, 0, 1, label="forward"), step(1, 0)])
    data = {"kind": "images", "synthetic": True}
    learned = summary(data_sheets=["V100 in float32: NVIDIA (2018)"], data=data, loss={"first": 2.0, "last": 1.0})
    notes = {
        "Simulated time; uncalibrated: data sheet of V100 in float32. Synthetic data (images).": learned,
        "Measured in a real run. Synthetic data (images).": {**learned, "clock": "real"},
        "Simulated time; uncalibrated.": summary(data=data, loss=None),
    }
    for text, figures in notes.items():
        assert text in [said.get_text() for said in timeline(Result(figures, rows)).texts]
    *_, events = write_timeline(Result(learned, rows), tmp_path / "t")
    about = json.loads(events.read_text())["otherData"]
    assert (about["data"], about["data_sheets"]) == (data, learned["data_sheets"])


# the picture ---------------------------------------------------------------------------------------------------------
def test_picture_says_what_it_shows(pipeline: Result) -> None:
    drawn = timeline(pipeline, Selection(2, 3))
    (axes,) = drawn.axes
    texts = [text.get_text() for text in drawn.texts]
    assert "triangle (gpipe), steps 2-3 of 6" in texts
    assert "Simulated time; uncalibrated." in texts
    assert axes.get_xlabel() == "time (s)"
    assert axes.get_yticklabels()[0].get_text() == "worker 0"
    inside = [text.get_text() for text in axes.texts]
    assert inside.count("3") == 2 * 2 * 2  # micro-batch 3: forward and backward, two stages, two steps
    assert {"step 2", "step 3"} <= set(inside)
    low, high = axes.get_xlim()
    shown = view(pipeline.trace, Selection(2, 3))
    assert (low, high) == pytest.approx((shown.start, shown.end))
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert {"forward", "backward", "wait", "end of a step"} <= set(legend)
    assert "cancelled" not in legend


def test_nothing_is_clipped(pipeline: Result) -> None:
    drawn = timeline(Result({**pipeline.summary, "scenario": "a very long name " * 20}, pipeline.trace))
    drawn.draw_without_rendering()
    width, height = drawn.canvas.get_width_height()
    (axes,) = drawn.axes
    artists = [*drawn.texts, *drawn.legends, *axes.get_yticklabels(), axes.xaxis.label]
    for artist in artists:
        box = artist.get_window_extent()
        assert box.x0 >= 0, artist
        assert box.y0 >= 0, artist
        assert box.x1 <= width, artist
        assert box.y1 <= height, artist


def test_same_run_same_bytes(pipeline: Result, tmp_path: Path) -> None:
    one, two = (write_timeline(pipeline, tmp_path / name / "t") for name in ("one", "two"))
    assert [path.name for path in one] == ["t.png", "t.svg", "t.trace.json"]
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_results_without_rows_have_no_timeline() -> None:
    with pytest.raises(ScenarioError, match=r"sums only, no rows.*run\.trace=rows"):
        timeline(Result(summary(), Aggregates()))
    with pytest.raises(ScenarioError, match="has no rows: there is nothing to draw"):
        timeline(Result(summary(), Trace()))


# the command line ----------------------------------------------------------------------------------------------------
@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(PIPELINE)
    return "small.yaml"


def test_timeline_is_written_here_or_into_the_folder_for_results(file: str, capsys: Any) -> None:
    assert main(["run", "--timeline", file]) == 0
    assert "\ntimeline: timeline.png, .svg, .trace.json\n" in capsys.readouterr().out
    assert main(["run", file, "--timeline", "--out", "results", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["scenario"] == "triangle"
    assert "timeline: results/timeline.png, .svg, .trace.json\n" in err
    assert main(["run", file, "--timeline=deep/picture.png", "--from-step", "1", "--to-step", "1"]) == 0
    assert sorted(path.name for path in Path("deep").iterdir()) == ["picture.png", "picture.svg", "picture.trace.json"]


def test_timelines_of_variants_have_names(file: str, capsys: Any) -> None:
    Path(file).write_text(PIPELINE + "variants: {one: {}, 'a/b': {scheme.micro_batches: 2}}\n")
    assert main(["run", file, "--timeline"]) == 0
    assert {path.name for path in Path().glob("*.png")} == {
        "timeline-one-simulated.png",
        "timeline-a_b-simulated.png",
    }


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--timeline", "run.trace=aggregate"],
            "triangle keeps no rows (run: {trace: aggregate}); give run.trace=rows",
        ),
        (["--timeline", "--from-step", "6"], "--from-step 6: triangle has steps 0 to 5; choose among them"),
        (["--timeline", "--to-step", "-1"], "--to-step -1: triangle has steps 0 to 5; choose among them"),
        (["--timeline", "--from-step", "3", "--to-step", "2"], "--from-step 3 is after --to-step 2"),
        (["--timeline", "--actors", "0"], "--actors 0: show at least 1"),
        (["--from-step", "3"], "--from-step is of a timeline: add --timeline"),
        (["--timeline=small.yaml/x"], "--timeline: folder small.yaml can't be made: File exists"),
    ],
)
def test_wrong_wishes_are_refused_before_the_run(
    file: str, words: list[str], line: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parasim, "simulate", None)
    assert main(["run", file, *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


def test_a_picture_says_that_collectives_were_coupled() -> None:
    words = ["run.learn=false", "run.steps=3", "run.fidelity=coupled"]
    result = parasim.simulate(parasim.load("scenarios/quickstart.yaml", words, variant="all-reduce"))
    shown = " ".join(text.get_text() for text in timeline(result).texts)
    assert "3 of 3 collectives were simulated as one flow each" in " ".join(shown.split())


def passes_shown(path: Path, scheme: str) -> list[list[str]]:
    path.write_text(PIPELINE.replace("{kind: gpipe, workers: 2, micro_batches: 4}", scheme))
    shown = view(parasim.simulate(parasim.load(path)).trace, Selection(0, 0))
    return [[box.text for box in actor.lanes[0].boxes if box.kind in ("forward", "backward")] for actor in shown.actors]


def test_passes_tell_chunks_apart_but_not_the_layers_of_one_pass(tmp_path: Path):
    """The order of interleaved 1F1B: two micro-batches through one chunk, then through the next."""
    first, last = passes_shown(tmp_path / "a.yaml", "{kind: interleaved_1f1b, workers: 2, chunks: 2, micro_batches: 2}")
    assert first == ["0a", "1a", "0b", "1b", "0b", "1b", "0a", "1a"]
    assert last[:3] == ["0a", "1a", "0b"]
    for scheme in ("gpipe, workers: 2", "three_d, workers: 2, pipeline: 1, tensor: 2"):
        shown = passes_shown(tmp_path / "b.yaml", f"{{kind: {scheme}, micro_batches: 2}}")
        assert {text for actor in shown for text in actor} == {"0", "1"}
