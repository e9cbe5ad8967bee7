"""The scoreboard of published results: its page is current, what it is calibrated on is met, misses are explained."""

import re

import pytest

from parasim.cli import main
from parasim.report.published import MISS, scoreboard_sheet
from parasim.study.published import PUBLISHED, scoreboard
from tests.golden import ROOT

FOLDER = ROOT / "scenarios" / "published"
PAGE = ROOT / "docs" / "published.md"


@pytest.fixture(scope="module")
def rows():
    return scoreboard(FOLDER)


def test_the_page_is_current(rows):
    (shown,) = re.findall(r"```\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    made = scoreboard_sheet(rows).text()
    assert shown.rstrip() == made, "run: python -m tests.test_published"
    assert max(map(len, made.splitlines())) <= 120


def test_smallest_configurations_are_met_and_misses_are_explained(rows):
    assert sum(not row["calibrated"] for row in rows) >= 30
    for row in rows:
        if row["calibrated"]:
            assert abs(row["error"]) < 0.005, row["what"]
        elif abs(row["error"]) > MISS:
            assert row["why"], row["what"]


def test_most_predictions_are_near(rows):
    errors = sorted(abs(row["error"]) for row in rows if not row["calibrated"])
    assert errors[len(errors) // 2] < 0.04
    assert sum(error < 0.15 for error in errors) >= 0.9 * len(errors)


def test_the_page_has_every_claim():
    lines = PAGE.read_text().splitlines()
    table = lines[lines.index("```") + 5 :][: len(PUBLISHED)]
    for claim, line in zip(PUBLISHED, table, strict=True):
        assert line.startswith(claim.paper)
        assert ("calibrated on" in line) == claim.calibrated
        assert claim.why or " miss" not in line


def test_every_file_has_claims_and_says_what_it_is_calibrated_on():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {claim.file for claim in PUBLISHED}
    for path in FOLDER.glob("*.yaml"):
        head = " ".join(line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("#"))
        assert "Published: " in head
        assert re.search("[Cc]alibrated", head), path


def test_a_folder_without_the_files_is_refused(tmp_path, capsys):
    assert main(["analyze", str(tmp_path), "--published"]) == 2
    assert "there is no such file: --published wants the folder scenarios/published" in capsys.readouterr().err


if __name__ == "__main__":
    table = scoreboard_sheet(scoreboard(FOLDER)).text()
    PAGE.write_text(re.sub(r"```\n.*```", lambda _: f"```\n{table}\n```", PAGE.read_text(), flags=re.DOTALL))
