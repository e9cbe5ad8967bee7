"""`parasim analyze`: figures of every scheme, limits, best numbers of workers, four forms of tables, the picture."""

import csv
import io
import json

import pytest

import parasim
from parasim import SCHEMES
from parasim.cli import main
from parasim.report.analyze import analysis_sheets
from parasim.report.concurrency import concurrency_sheets
from parasim.report.scaling_plot import scaling_figure
from parasim.report.sheets import sheets_csv, sheets_text
from parasim.report.table import count
from parasim.study.analyze import analyze
from parasim.study.concurrency import concurrency
from parasim.theory.limits import data_parallel_limit
from parasim.theory.survey import ROWS
from parasim.theory.work_depth import WorkDepth, mlp_step
from parasim.units import format_quantity
from tests.gallery import differing
from tests.golden import ROOT
from tests.schemes_setup import make
from tests.survey import PICTURE, drawn
from tests.survey import SCHEMES as SCHEMES_SHOWN

FILE = ROOT / "scenarios" / "survey.yaml"
SMALL = ["workload.model.width=32", "cluster.topology.hosts=8", "run.steps=2", "cluster.device.flops=1 GFLOP/s"]
CHOSEN = "sequential,allreduce,local_sgd(period=2),downpour,gpipe,interleaved_1f1b"


@pytest.fixture(scope="module")
def entry():
    return analyze(FILE, CHOSEN, SMALL, "10 Gbit/s")[0]


def test_every_scheme_says_what_it_replaces_unless_it_is_sequential_sgd():
    exact = {"sequential", "allreduce", "parameter_server", "accumulation", "gpipe", "tensor_parallel", "grid"}
    exact |= {"one_weird_trick", "three_d", "layerwise", "pipedream_flush", "interleaved_1f1b", "zb_h1", "zero"}
    assert {name for name, scheme in SCHEMES.items() if not scheme.approximates} >= exact
    for scheme in SCHEMES.values():
        assert len(scheme.approximates) <= 46
        if scheme.taxonomy.consistency.startswith(("asynchronous", "stale")) or "averag" in scheme.taxonomy.training:
            assert scheme.approximates, scheme.name


def test_contended_servers_have_seconds_from_below_and_above():
    own = ["workload.model.width=256", "cluster.topology.hosts=9", "run.steps=4", "scheme.workers=8"]
    entry = analyze(FILE, "allreduce,downpour", own, "1 Gbit/s")[0]
    exact, row = entry["schemes"]
    low, high = row["bounds"]
    assert low <= row["closed_form"] <= high
    assert low <= row["simulated"] <= high
    assert exact["bounds"] is None
    assert abs(row["difference"]) > 0.02
    text = " ".join(sheets_text(analysis_sheets([entry]), "text").split())
    assert f"A step takes from {format_quantity(low, 'seconds')} to {format_quantity(high, 'seconds')}" in text


def test_asynchronous_workers_on_unlike_machines_are_told_by_what_all_take():
    """Seven workers keep their speed, and one has a tenth of it; a step of all is still the slowest one's."""
    unlike = [*SMALL, "scheme.workers=8", "run.steps=40", "cluster.speeds.3=0.1", "cluster.host.cores=2"]
    entry = analyze(FILE, "allreduce,adpsgd", unlike, "100 Gbit/s")[0]
    together, apart = (row["samples_per_second_while_all_work"] / row["samples_per_second"] for row in entry["schemes"])
    assert together == pytest.approx(1, rel=0.05)
    assert apart == pytest.approx((7 + 0.1) / (8 * 0.1), rel=0.1)
    text = " ".join(sheets_text(analysis_sheets([entry]), "text").split())
    rate = entry["schemes"][1]["samples_per_second_while_all_work"]
    assert f"samples per s while all work: adpsgd {count(rate)}." in text


def test_figures_of_all_schemes_are_of_one_total_batch(entry):
    rows = {row["label"]: row for row in entry["schemes"]}
    assert entry["batch"] == 1024
    assert [row.get("samples") for row in rows.values()] == [1024] * 5 + [None]
    flops = 6 * 1024 * 8 * 32**2
    assert rows["sequential"]["path"] == {"flops": flops, "messages": 0, "bytes": 0}
    for name in ("allreduce", "gpipe", "local_sgd(period=2)"):
        assert rows[name]["flops"] == pytest.approx(flops / 8, rel=0.02)  # and updates
        assert rows[name]["difference"] == pytest.approx(0, abs=0.02)
    assert rows["allreduce"]["bytes"] == pytest.approx(8 * 8 * 32**2 * 7 / 8)
    assert rows["downpour"]["approximates"] == "stale gradients"
    assert rows["gpipe"]["approximates"] == "nothing"
    assert "16 stages need at least 16 layers" in rows["interleaved_1f1b"]["error"]


def test_what_is_compressed_is_said():
    asked = (FILE, "allreduce,local_sgd,gpipe", [*SMALL, "compression.kind=topk"], "10 Gbit/s")
    rows = analyze(*asked)[0]["schemes"]
    assert [row.get("approximates") for row in rows] == [
        "compressed gradients (topk)",
        "averaged models, which drift apart; compressed models (topk)",
        None,
    ]
    assert rows[0]["simulated"] == pytest.approx(rows[0]["closed_form"], rel=1e-9)


ANY = {"b": 8, "n": 8, "L": 8, "N": 8, "c": 1, "alpha": 1, "beta": 1}
STALE = {
    "downpour": {},
    "softsync": {"q": 8},
    "pipedream": {},
    "ddg": {},
    "fdg": {},
    "pipe_sgd": {},
    "dynsgd": {"tau": 8},
}


def test_staleness_far_from_the_start_is_that_of_the_table():
    rows = analyze(FILE, ",".join(STALE), [*SMALL, "run.steps=16"], "10 Gbit/s")[0]["schemes"]
    for row, (scheme, values) in zip(rows, STALE.items(), strict=True):
        assert row["staleness"] == pytest.approx(ROWS[scheme].at(**ANY, **values).staleness)


SEVERAL = "codistillation(period=8,burn_in=30),population_based_training(ready=8)"


def test_what_begins_late_or_is_rare_is_counted():
    rows = analyze(FILE, SEVERAL, SMALL, "100 Gbit/s")[0]["schemes"]
    for row in rows:
        assert row["difference"] == pytest.approx(0, abs=1e-3)
        assert row["bytes"] > 0
    assert rows[0]["messages"] == pytest.approx(7 / 8)


def test_the_limit_is_that_of_the_survey(entry):
    expected = data_parallel_limit(1024, 1e9, 1.25e9)
    assert entry["limits"]["workers"] == pytest.approx(expected)
    assert entry["limits"]["compressed"]["workers"] == pytest.approx(32 * expected)
    assert entry["limits"]["double_buffering"] > expected / 2  # the update is on its side


def test_the_best_number_of_workers_has_the_least_time_per_sample(entry):
    for row in entry["schemes"]:
        if "error" not in row:
            best = min(row["scaling"], key=lambda point: point["seconds_per_sample"])
            assert row["best_workers"] == best["workers"]
    gpipe = next(row for row in entry["schemes"] if row["label"] == "gpipe")
    assert [point["workers"] for point in gpipe["scaling"]] == [1, 2, 4, 8]
    own = next(point for point in gpipe["scaling"] if point["workers"] == gpipe["workers"])
    assert own["seconds_per_sample"] == pytest.approx(gpipe["closed_form"] / 1024)


def test_tables_have_four_forms(entry):
    sheets = analysis_sheets([entry])
    assert len(sheets) == 3
    assert max(map(len, sheets_text(sheets).splitlines())) <= 120
    assert "| allreduce | $\\frac{6 L b c n^{2}}{N} + " in sheets_text(sheets, "markdown")
    latex = sheets_text(sheets, "latex")
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 3
    assert r"interleaved\_1f1b" in latex
    assert not any("\N{HORIZONTAL ELLIPSIS}" in sheets_text(sheets, form) for form in ("text", "markdown", "latex"))
    assert [*sheets_csv(sheets)] == ["costs", "times", "formulas"]
    rows = list(csv.DictReader(io.StringIO(sheets[0].csv())))
    assert float(rows[1]["messages"]) == entry["schemes"][1]["messages"]
    with pytest.raises(parasim.ScenarioError, match="--format: no form 'html': choose one of text, markdown, latex"):
        sheets_text(sheets, "html")


def test_the_page_shows_the_picture():
    assert f"](survey/{PICTURE.name})" in (ROOT / "docs" / "survey.md").read_text()
    assert differing(PICTURE.read_bytes(), drawn()) < 5e-5, "run: python -m tests.survey"
    named = {word.partition("(")[0] for word in SCHEMES_SHOWN.split(",")}
    assert named <= set(ROWS)


def test_the_command_draws_how_many_workers_are_worth_it(tmp_path, capsys):
    words = ["analyze", str(FILE), *SMALL, "--scaling", "--schemes", "allreduce,gpipe", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "N = 8" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"analysis.{ending}" for ending in ("json", "txt", "md", "tex")),
        "scaling.csv",
        "workers.png",
        "workers.svg",
    }
    entries = json.loads((tmp_path / "analysis.json").read_text())
    assert [each["scenario"].split("[")[1] for each in entries] == ["1 Gbit/s]", "10 Gbit/s]", "100 Gbit/s]"]
    figure = scaling_figure(entries)
    panels = [panel for panel in figure.axes if panel.lines]
    assert len(panels) == 6  # three settings of two families
    limits = [[text.get_text() for text in panel.texts] for panel in panels]
    assert [len(texts) for texts in limits] == [2, 2, 2, 0, 0, 0]  # N^ is of divided data
    for panel, texts, entry in zip(panels, limits, entries, strict=False):
        low, high = panel.get_xlim()
        for text, limit in zip(texts, (entry["limits"], entry["limits"]["compressed"]), strict=False):
            workers = limit["workers"]
            assert f"= {workers:.3g}" in text
            assert ("\N{LEFTWARDS ARROW}" in text) == (workers < low)
            assert ("\N{RIGHTWARDS ARROW}" in text) == (workers > high)
    with (tmp_path / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["of"] for row in rows] == [each["scenario"] for each in entries for _ in range(2)]
    assert float(rows[0]["N = 8"]) == entries[0]["schemes"][0]["scaling"][3]["seconds_per_sample"]
    assert main(["analyze", str(FILE), "--schemes", "alreduce"]) == 2
    assert "unknown scheme 'alreduce' (did you mean 'allreduce'?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--published", "--scaling"], "--published and --scaling are different tables: give one of them"),
        (["--published", "run.steps=3"], "--published takes the folder's scenarios as they are: leave the rest out"),
        (["--concurrency", "--schemes", "ssp"], "--concurrency is of the network alone: leave --schemes out"),
        (["--concurrency", "--format", "html"], "--format: no form 'html': choose one of text, markdown, latex, csv"),
    ],
)
def test_what_would_have_no_effect_is_refused(words, error, capsys):
    assert main(["analyze", str(FILE), *words]) == 2
    assert error in capsys.readouterr().err


# concurrency ---------------------------------------------------------------------------------------------------------
def scenario_of(kind, workers=4, **model):
    return make("allreduce", workers, model={"kind": kind, **model}, batch=8)


def test_work_and_depth_of_the_surveys_network():
    """Without activation functions it is `mlp_step`; its gradient to the first layer's weights waits for nobody."""
    found = concurrency(scenario_of("mlp", width=16, depth=3, activation="linear"))
    form = mlp_step(3, 16, 8)
    assert found["step"]["work"] == form.work == 3 * 8 * 3 * 16**2
    assert found["step"]["depth"] == form.depth - 3
    assert [layer["forward"]["depth"] for layer in found["layers"]] == [4, 4, 4]
    relu = concurrency(scenario_of("mlp", width=16, depth=3, activation="relu"))
    assert relu["forward"]["depth"] == found["forward"]["depth"] + 2


@pytest.mark.parametrize(
    "kind", ["lenet5", "cnn", "vgg11", "resnet18", "inception-v3", "lstm", "gpt2-small", "bert-base"]
)
def test_work_is_at_least_the_multiply_adds_of_the_model(kind):
    """Layer by layer: products as the model counts them, and element-wise operations beside them."""
    scenario = scenario_of(kind)
    found = concurrency(scenario)
    for layer, shown in zip(scenario.workload.model.layers, found["layers"], strict=True):
        assert shown["layer"] == layer.name
        for part, flops in (("forward", layer.forward_flops), ("weights", layer.weight_flops)):
            assert shown[part]["work"] >= 8 * flops / 2 * (1 - 1e-12)
    flops = 8 * sum(layer.forward_flops for layer in scenario.workload.model.layers) / 2
    assert found["forward"]["work"] == pytest.approx(flops, rel=0.12)  # most are products


def test_what_workers_do_to_work_and_depth():
    found = concurrency(scenario_of("mlp", width=16, depth=4))
    one, data, model, pipeline = found["parallel"]
    assert (data["work"], data["depth"]) == (4 * one["work"], one["depth"] + 2)
    assert (model["work"], model["depth"]) == (one["work"], one["depth"])
    assert (pipeline["work"], pipeline["depth"]) == (4 * one["work"], one["depth"] * 7 / 4)
    for row in found["parallel"]:
        assert row["bounds"] == list(WorkDepth(row["work"], row["depth"]).bounds(row["processors"]))


def test_convolutions_are_compared_by_algorithm(capsys):
    found = concurrency(scenario_of("resnet18"))
    first, second = found["convolutions"][:2]
    assert set(first["ways"]) == {"direct", "im2col"}  # its strides are two
    assert set(second["ways"]) == {"direct", "im2col", "fft", "winograd 2x2", "winograd 4x4"}
    assert second["ways"]["winograd 2x2"]["work"] < second["ways"]["direct"]["work"]
    assert len(found["convolutions"]) == 20
    assert main(["analyze", str(FILE), "--concurrency", "workload.model.kind=resnet20", "workload.batch_size=4"]) == 0
    text = capsys.readouterr().out
    tables = sheets_csv(concurrency_sheets(found))
    heads = {name: lines.partition("\n")[0].split(",") for name, lines in tables.items()}
    assert all(len(names) == len(set(names)) for names in heads.values())
    assert heads["layers"][2:5] == ["forward W", "forward D", "forward W/D"]
    assert text.count("Convolutions, forward.") == 1  # three variants, one network
    assert max(map(len, text.splitlines())) <= 120
    with pytest.raises(parasim.ScenarioError, match="model: layers of kind 'layers' are costs alone"):
        concurrency(make("allreduce", 2, model={"kind": "layers", "layers": [{"parameters": 1, "forward_flops": 1.0}]}))
