"""Every scenario in scenarios/ says what it is for, and gives its golden summary."""

import json

import pytest

from tests.golden import ROOT, SCENARIOS, STORE, golden_path, summaries

LOSS_TOLERANCE = 2e-3
"""Sums in float32 are split differently by other processors; the figures of costs are not."""


def compare(found, expected, where):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            compare(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, float):
        tolerance = LOSS_TOLERANCE if ".loss." in where else 1e-9
        assert found == pytest.approx(expected, rel=tolerance, abs=1e-12), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_summary_is_the_golden_one(scenario):
    """If a change of a figure is meant: python -m tests.golden, and say why in the commit."""
    compare(summaries(scenario), json.loads(golden_path(scenario).read_text()), scenario)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_first_lines_say_the_schema_and_the_purpose(scenario):
    first, second, *_ = (ROOT / scenario).read_text().splitlines()
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert ((ROOT / scenario).parent / schema).resolve() == ROOT / "parasim" / "scenario" / "schema.json"
    assert second.startswith("# Purpose: ")


def test_no_golden_summary_is_left_over():
    assert {path.name for path in STORE.iterdir()} == {golden_path(scenario).name for scenario in SCENARIOS}
