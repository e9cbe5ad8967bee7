"""The table and the picture of a cross-check: what they show of whatever was found."""

from dataclasses import replace

import pytest

from calibration.checking.bounds import BOUNDS
from calibration.checking.scoring import score
from parasim.report.crosscheck_files import write_crosscheck
from parasim.report.crosscheck_plot import crosscheck_figure
from parasim.report.crosscheck_table import crosscheck_table, percent
from tests.crosscheck_setup import case, figures, scenario

CASES = [
    case("one/ring", scenario({"kind": "allreduce", "workers": 2})),
    case("one/server", scenario({"kind": "downpour", "workers": 3, "servers": 1})),
    case("two/ring", scenario({"kind": "allreduce", "workers": 4}, network="shaped")),
]


def found(cases=CASES, failures=None, sent=(10, 10)):
    stale = {0: {1: 10, 2: 5}, 1: {0: 3, 1: 12}}
    real = {one.name: [figures(value, staleness=stale) for value in (0.99, 1.0, 1.02)] for one in cases}
    guess = {one.name: [figures(value, staleness=stale, sent=sent) for value in (1.04, 1.03, 1.06)] for one in cases}
    made = score(cases, real, guess, BOUNDS, failures or {})
    return {"profile": "bench", "machine": {"processor": "Abacus", "cores": 2, "kernel": "6"}, **made}


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.0123, False, "1.2%"), (0.0123, True, "+1.2%"), (-0.5, True, "-50%"), (0.0999, False, "10%"), (None, True, "-")],
)
def test_percent(value, signed, text):
    assert percent(value, signed=signed) == text


def test_the_table_says_all_that_is_asked():
    text = crosscheck_table(found())
    lines = text.splitlines()
    assert lines[0] == "profile bench against real runs on Abacus, 2 cores, 6"
    assert max(map(len, lines)) <= 120
    (row,) = [line for line in lines if line.startswith("two/ring") and "same" in line]
    assert row.split()[:2] == ["two/ring", "4"]
    assert "+4.0%" in row
    assert "0/3" in row
    for group in ("loopback", "oversubscribed", "shaped", "all"):
        assert any(line.startswith(group) for line in lines)
    assert "MISSES: shaped: size of the mean signed error 4.0%, at most 2.0% allowed" in lines
    assert lines[-1] == "REJECTED"


def test_names_of_one_file_are_without_it():
    assert "\nring " in crosscheck_table(found(CASES[:2]))
    assert "\none/ring " in crosscheck_table(found())


def test_what_differs_and_what_did_not_run_is_said():
    text = crosscheck_table(found(failures={"two/ring": "no route"}, sent=(10, 20)))
    assert "DID NOT RUN: two/ring: no route" in text
    assert "MISSES: one/ring: bytes and messages that differ: 1, none allowed" in text
    assert "bytes_sent by rank: real [10, 10], simulated [10, 20]" in text
    assert "DIFFERS" in text


def test_neighbours_are_named_if_they_had_much_of_the_machine():
    def text(slow, stolen):
        runs = {CASES[0].name: [replace(figures(1.0), about={"slow": slow, "stolen": stolen})] * 2}
        return crosscheck_table({"profile": "p", "machine": {}, **score(CASES[:1], runs, runs, BOUNDS, {})})

    assert "DISTURBED" not in text(0.04, 0.0)
    assert "DISTURBED" not in text(None, None)
    assert "in 30% of the looks" in text(0.3, 0.0)
    assert "hypervisor took 20% of" in text(None, 0.2)


def test_accepted_is_said():
    free = replace(BOUNDS, groups=dict.fromkeys(BOUNDS.groups, replace(BOUNDS.groups["loopback"], each=None)))
    runs = {CASES[0].name: [figures(1.0), figures(1.0)]}
    made = score(CASES[:1], runs, runs, free, {})
    assert crosscheck_table({"profile": "p", "machine": {}, **made}).endswith("\nACCEPTED")


def test_the_picture_has_every_case_and_both_axes():
    drawn = crosscheck_figure(found(failures={"one/server": "no route"}), "title")
    left, right = drawn.axes
    assert [label.get_text() for label in right.get_yticklabels()] == ["one/ring", "two/ring"]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert left.get_xlim() == left.get_ylim()
    assert right.get_xlim()[0] == -right.get_xlim()[1]
    texts = " ".join(text.get_text() for text in drawn.texts)
    assert "did not run: one/server: no route" in texts
    assert "rejected" in texts


def test_equal_scores_give_equal_files(tmp_path):
    for name in ("first", "second"):
        write_crosscheck(found(), tmp_path / name, "title")
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == [f"crosscheck.{kind}" for kind in ("csv", "json", "png", "svg", "txt")]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
