"""The verb `report`: a page of folders of results; and what it says of folders that are none."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from parasim.cli import main
from parasim.report.crosscheck_files import write_crosscheck
from parasim.report.output import claim_results
from parasim.report.provenance import origin_of
from tests.test_crosscheck_report import found

SCENARIO = """\
name: two <machines> & "one" switch
workload: {model: {kind: mlp, width: 8, depth: 2}, batch_size: 4, data: {kind: digits}}
cluster:
  topology: {kind: star, hosts: 3}
  device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 1 Gbit/s}
scheme: {kind: allreduce, workers: 2}
run: {steps: 3, learn: true}
variants:
  ring: {}
  server: {scheme: {kind: downpour, workers: 2, servers: 1}}
"""


class Page(HTMLParser):
    """Checks that tags are closed in order; collects headings, text and addresses."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.links: list[str] = []
        self.pictures = 0
        self.text = ""
        self.feed(path.read_text())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        if tag in {"h1", "h2", "h3"}:
            self.headings.append("")
        self.pictures += tag == "img"
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        assert tag != "img" or dict(attrs)["alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings[-1] += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a run, a comparison and a sweep."""
    folder = tmp_path_factory.mktemp("made")
    scenario = folder / "two.yaml"
    scenario.write_text(SCENARIO)
    file = str(scenario)
    assert main(["run", file, "--out", str(folder / "run")]) == 0
    more = ["run.learn=false", "--schemes", "allreduce,gpipe(workers=7)", "--out", str(folder / "compare")]
    assert main(["compare", file, "--variant", "ring", *more]) == 0
    grid = ["scheme.workers=1,2", "run.learn=false", "--variant", "ring", "--jobs", "1", "--out", str(folder / "sweep")]
    assert main(["sweep", file, *grid]) == 0
    return folder


def copied(made: Path, kind: str, to: Path) -> Path:
    return Path(shutil.copytree(made / kind, to / kind))


def test_a_page_stands_alone_and_says_all_of_a_run(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(made / "run")]) == 0
    printed, said = capsys.readouterr()
    assert 'two <machines> & "one" switch (run)' in printed
    assert said == f"written: {made / 'run' / 'report.html'}\n"
    page = Page(made / "run" / "report.html")
    assert page.headings == [
        *['two <machines> & "one" switch'] * 2,
        "Headline figures",
        "Throughput, where the time goes, staleness",
        "Where the time goes",
        "What is sent and received",
        "Staleness",
        "Memory",
        "What workers hold",
        "Training loss",
        "Timeline: ring",
        "Timeline: server",
        "Scenario and provenance",
    ]
    assert page.pictures == 5
    assert all(link.startswith("data:image/") for link in page.links)
    assert SCENARIO in page.text
    assert "UNCALIBRATED: the device is described by plain numbers" in page.text
    assert f"parasim run {made / 'two.yaml'}" in page.text
    style = (made / "run" / "report.html").read_text().split("</style>")[0]
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert "url(" not in style


def test_several_folders_are_one_page(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(made / kind) for kind in ("run", "compare", "sweep")]
    assert main(["report", *folders, "--out", str(tmp_path / "page"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(one["verb"], [run["label"] for run in one["runs"]]) for one in shown] == [
        ("run", ["ring", "server"]),
        ("compare", ["ring: allreduce", "ring: gpipe(workers=7)"]),
        ("sweep", ["ring scheme.workers=1", "ring scheme.workers=2"]),
    ]
    summary = json.loads((made / "run" / "summary.json").read_text())
    assert [run["summary"] for run in shown[0]["runs"]] == summary
    page = Page(tmp_path / "page" / "report.html")
    assert page.headings.count("Scenario and provenance") == 3
    assert page.headings[1:3] == ["All runs", "Headline figures"]
    assert "How it scales" in page.headings
    assert "DID NOT RUN: ring: gpipe(workers=7)" in page.text
    assert {link for link in page.links if not link.startswith("data:image/")} == {"#s1", "#s2", "#s3", "#s4"}


def test_a_cross_check_is_shown_with_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_crosscheck(found(), tmp_path, "predicted beside measured")
    origin_of(["crosscheck", "x.yaml"], tmp_path / "x.yaml", "0", ["a core was busy"]).write(tmp_path, "checked")
    assert main(["report", str(tmp_path)]) == 0
    assert "REJECTED" in capsys.readouterr().out
    page = Page(tmp_path / "report.html")
    assert "Predicted beside measured" in page.headings
    assert "a core was busy" in page.text


def test_results_made_anew_are_unfinished_until_they_are_there(made: Path, tmp_path: Path, capsys: Any) -> None:
    folder = copied(made, "run", tmp_path)
    claim_results(folder)
    assert main(["report", str(folder)]) == 2
    assert "not finished" in capsys.readouterr().err
    for name, says in (("points.jsonl", "a sweep that was not finished"), ("measured.json", "were not judged")):
        (folder / name).touch()
        assert main(["report", str(folder)]) == 2
        assert says in capsys.readouterr().err
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (shutil.rmtree, "is not there: name a folder that run"),
        (lambda folder: (folder / "provenance.json").unlink(), "holds results that were not finished"),
        (lambda folder: (folder / "summary.json").write_text("{"), "summary.json:1:2: is not as it was written"),
        (lambda folder: (folder / "summary.json").write_text("[{}]"), "summary.json: 0.scenario: is not as it was"),
        (lambda folder: (folder / "summary.json").write_bytes(b"\xff\xfe\x00"), "is no text"),
        (lambda folder: (folder / "trace-ring-simulated.csv").unlink(), "trace-ring-simulated.csv: is missing"),
        (lambda folder: (folder / "trace-ring-simulated.csv").write_text("a,b\n"), "trace-ring-simulated.csv:1:1"),
        (lambda folder: (folder / "provenance.json").write_text('{"format": "x"}'), "format: must be 'parasim results"),
    ],
)
def test_folders_without_results_are_refused_in_a_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, says: str
) -> None:
    folder = copied(made, "run", tmp_path)
    change(folder)
    assert main(["report", str(folder)]) == 2
    said = capsys.readouterr().err
    assert str(folder) in said
    assert re.search(re.escape(says), said), said
    assert said.count("\n") == 1


def test_a_folder_named_twice_and_a_file_are_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(made / "run"), f"{made}/run/"]) == 2
    assert "is named twice" in capsys.readouterr().err
    assert main(["report", str(made / "two.yaml")]) == 2
    assert "is a file: name a folder" in capsys.readouterr().err
