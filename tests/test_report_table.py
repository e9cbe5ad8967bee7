"""Tables: what a row shows, that they fit, that they explain themselves."""

from typing import Any

import pytest

from parasim.report.table import results_table
from parasim.report.text import Column, table


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "scheme": "allreduce",
        "clock": "simulated",
        "workers": 8,
        "seconds_per_step": 0.0123,
        "samples_per_second": 41626.0,
        "shares": {"compute": 0.62, "transfer": 0.377, "wait": 0.003},
        "bytes_sent_per_worker_per_step": 14.7e6,
        "messages_sent_per_worker_per_step": 14.0,
        "staleness": {"mean": 0.954, "max": 3},
        "loss": {"first": None, "last": None},
        "memory_bytes_per_worker": 26e6,
        "calibrated": False,
        **changes,
    }


def test_a_row_in_human_units() -> None:
    lines = results_table([summary()], ["eight workers"]).splitlines()
    assert lines[0].split() == ["time", "per", "samples", "sent", "per", "messages", "staleness"]
    row = next(line for line in lines if line.startswith("eight workers"))
    cells = [
        "allreduce",
        "8",
        "12.3",
        "ms",
        "41.6k",
        "62%",
        "38%",
        "<1%",
        "14.7",
        "MB",
        "14",
        "0.954",
        "(3)",
        "26",
        "MB",
    ]
    assert row.split()[2:] == cells
    assert "loss" not in "\n".join(lines)
    assert lines[-1].startswith("UNCALIBRATED:")


def test_loss_and_clock_columns_appear_when_they_say_something() -> None:
    learned = summary(loss={"first": 2.302, "last": 0.41}, calibrated=True)
    text = results_table([learned, summary(clock="real")], ["a", "b"], title="two runs")
    assert text.startswith("two runs\n\n")
    assert "2.3->0.41" in text
    assert "simulated" in text
    assert "real" in text
    assert "UNCALIBRATED" not in text


def test_what_does_not_fit_the_device_is_named() -> None:
    large = summary(scenario="x", does_not_fit={"actor": "server 1", "held_bytes": 3e6, "device_bytes": 1e6})
    assert "DOES NOT FIT" not in results_table([summary(does_not_fit=None)], ["x"])
    (line,) = [line for line in results_table([large], ["x"]).splitlines() if line.startswith("DOES NOT FIT")]
    assert line == "DOES NOT FIT: in x server 1 holds 3 MB, its device has 1 MB."


def test_what_all_take_while_they_work_is_told_where_workers_end_apart() -> None:
    def lines(while_all: float) -> list[str]:
        apart = summary(samples_per_second=1000.0, samples_per_second_while_all_work=while_all)
        shown = results_table([summary(samples_per_second=500.0), apart], ["a", "b"]).splitlines()
        return [line for line in shown if "while all" in line]

    assert lines(1249.0) == []
    meaning, value = lines(9000.0)
    assert meaning.startswith("while all work: ")
    assert value == "ENDS APART: samples per s while all work: b 9k."


def test_missing_figures_are_dashes() -> None:
    empty = summary(seconds_per_step=None, samples_per_second=None, staleness={"mean": None, "max": None}, loss=None)
    row = next(line for line in results_table([empty], ["x"]).splitlines() if line.startswith("x"))
    assert row.split()[3:5] == ["-", "-"]


def test_it_fits_in_120_columns_whatever_the_names() -> None:
    wide = summary(
        scheme="a scheme with a long name",
        workers=1_000_000,
        seconds_per_step=123.4e-6,
        samples_per_second=999.6e6,
        shares={"compute": 1.0, "transfer": 1.0, "wait": 1.0},
        staleness={"mean": 1234.5, "max": 99999},
        loss={"first": 123456.0, "last": 0.000123},
        messages_sent_per_worker_per_step=12345.6,
    )
    text = results_table([wide, wide | {"clock": "real"}], ["n" * 300, "\u00fc" * 3])
    assert max(map(len, text.splitlines())) <= 120
    assert "\u2026" in text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (7.25, "7.25"), (1000, "1k"), (999_600, "1M"), (41626, "41.6k")])
def test_counts(value: float, text: str) -> None:
    row = results_table([summary(samples_per_second=value)], ["x"]).splitlines()
    assert text in next(line for line in row if line.startswith("x")).split()


def test_columns_align() -> None:
    lines = table([Column("name", ["a", "long name"], least=4), Column("two\nlines", ["1", "22"])], 80)
    assert lines == ["             two", "name       lines", "---------  -----", "a              1", "long name     22"]
