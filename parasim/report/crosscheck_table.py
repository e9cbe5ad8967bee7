"""A cross-check as text: a row per case, the groups and what is demanded of them, the floor, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parasim.report.table import NONE, WIDTH
from parasim.report.text import Column, shortened, table
from parasim.units import format_quantity

__all__ = ["crosscheck_table", "percent"]

Score = Mapping[str, Any]


def crosscheck_table(score: Score) -> str:
    """Write the tables of a score (`calibration.crosscheck`), at most 120 columns wide."""
    lines = [_title(score), "", *_cases(score["cases"]), "", *_explained(score), ""]
    lines += [*_shares(score["cases"]), "", *_groups(score), ""]
    lines += _targets(score)
    lines += _reasons(score)
    lines += _disturbed(score["disturbed"])
    lines.append("ACCEPTED" if score["accepted"] else "REJECTED")
    return "\n".join(lines)


def percent(value: float | None, *, signed: bool = False) -> str:
    """A fraction as percent, to a tenth below ten."""
    if value is None:
        return NONE
    shown = f"{100 * value:.1f}" if abs(value) < 0.0995 else f"{100 * value:.0f}"
    return f"{'+' * (signed and value >= 0)}{shown}%"


def _title(score: Score) -> str:
    machine = ", ".join(f"{value} cores" if key == "cores" else str(value) for key, value in score["machine"].items())
    return shortened(f"profile {score['profile']} against real runs on {machine}", WIDTH)


def _cases(cases: Sequence[Score]) -> list[str]:
    ran = [None if case["failure"] else case for case in cases]

    def cells(show: Any) -> list[str]:
        return [NONE if case is None else show(case) for case in ran]

    return table(
        [
            Column("case", _names(cases), least=12),
            Column("ranks", [str(case["ranks"]) for case in cases]),
            Column("measured", cells(lambda case: _seconds(case["seconds_per_step"]["measured"]["median"]))),
            Column("median's\ninterval", cells(lambda case: f"+-{percent(case['half_width'])}")),
            Column("predicted", cells(lambda case: _seconds(case["seconds_per_step"]["predicted"]["value"]))),
            Column("its 90 %\ninterval", cells(_interval)),
            Column("error", cells(lambda case: percent(case["error"], signed=True))),
            Column("floor", cells(lambda case: percent((case["floor"] or {}).get("mean_absolute_error")))),
            Column("in", cells(lambda case: f"{case['inside']}/{case['runs']}")),
            Column("sent", cells(_sent), narrow="sent"),
            Column("staleness\nmean, KS", cells(_staleness)),
            Column("verdict", ["ok" if case["accepted"] else "MISSES" for case in cases]),
        ],
        WIDTH,
    )


def _sent(case: Score) -> str:
    if case["traffic_equal"]:
        return "same"
    return "DIFFERS" if case["traffic_error"] is None else percent(case["traffic_error"])


def _names(cases: Sequence[Score]) -> list[str]:
    """Names of cases; of one file without the file's."""
    names = [str(case["case"]) for case in cases]
    files = {name.partition("/")[0] for name in names}
    return [name.partition("/")[2] or name for name in names] if len(files) == 1 else names


def _shares(cases: Sequence[Score]) -> list[str]:
    """Where the time goes and how stale gradients are, measured and predicted side by side."""
    ran = [case for case in cases if case["failure"] is None]
    if not ran:
        return []

    def share(name: str) -> list[str]:
        sides = [[case["shares"][side][name] for side in ("measured", "predicted")] for case in ran]
        return [" | ".join(percent(value) for value in both) for both in sides]

    def staleness(name: str) -> list[str]:
        found = [case["staleness"] for case in ran]
        return [
            NONE if s is None else f"{_number(s['measured'][name])} | {_number(s['predicted'][name])}" for s in found
        ]

    def errors(name: str) -> list[str]:
        found = [case["staleness"] for case in ran]
        return [NONE if s is None else percent(s[name], signed=name != "worst_mean_error") for s in found]

    return table(
        [
            Column("measured | predicted", _names(ran), least=12),
            Column("compute", share("compute")),
            Column("transfer", share("transfer")),
            Column("wait", share("wait")),
            Column("staleness\nmean", staleness("mean")),
            Column("a worker's\nmean, worst", errors("worst_mean_error")),
            Column("variance", staleness("variance")),
            Column("error of\nvariance", errors("variance_error")),
        ],
        WIDTH,
    )


def _verdict(checks: Sequence[Score]) -> str:
    if not checks:
        return "not judged"
    return "ok" if all(check["passed"] for check in checks) else "MISSES"


def _explained(score: Score) -> list[str]:
    level = percent(score["level"])
    return [
        "measured, predicted: time per step, median of real runs and by the profile's numbers. error: of the latter.",
        f"its interval: a single real run should lie there with {level} probability; in: how many do.",
        "floor: mean size of the error that one real run makes as a prediction of the others.",
        "sent: payload bytes and messages of every rank (their error where timing decides how many).",
        "staleness: error of its mean, distance of its distributions.",
    ]


def _groups(score: Score) -> list[str]:
    """A row per group, and one for all cases."""
    if score["total"] is None:
        return ["No case was run."]
    named = [*score["groups"].items(), ("all", score["total"])]
    rows = [row for _, row in named]

    def floor(row: Score, name: str) -> str:
        return percent(row["floor"][name]) if row["floor"] else NONE

    return table(
        [
            Column("group", [name for name, _ in named], least=8),
            Column("cases", [str(row["cases"]) for row in rows]),
            Column("mean\nerror size", [percent(row["mean_absolute_error"]) for row in rows]),
            Column("(floor)", [floor(row, "mean_absolute_error") for row in rows]),
            Column("mean\nerror", [percent(row["mean_signed_error"], signed=True) for row in rows]),
            Column("(floor)", [floor(row, "mean_signed_error") for row in rows]),
            Column("worst\nerror", [percent(row["worst_error"], signed=True) for row in rows]),
            Column("(floor)", [floor(row, "worst_error") for row in rows]),
            Column("runs in\nintervals", [f"{percent(row['coverage'])} of {row['runs']}" for row in rows]),
            Column("ranking\ntau (pairs)", [_tau(row) for row in rows]),
            Column("(floor)", [_number((row["floor"] or {}).get("tau")) for row in rows]),
            Column("verdict", [_verdict(row["checks"]) for row in rows]),
        ],
        WIDTH,
    )


def _targets(score: Score) -> list[str]:
    """A row per case with a target: seconds until it was reached; nothing if no case has one."""
    found = score["targets"]
    if found is None:
        return []
    cases = [case for case in score["cases"] if case["failure"] is None]
    asked = [(name, case["target"]) for name, case in zip(_names(cases), cases, strict=True) if case["target"]]

    def reached(side: str) -> list[str]:
        return ["not reached" if target[side] is None else _seconds(target[side]) for _, target in asked]

    rows = table(
        [
            Column("to the target", [name for name, _ in asked], least=12),
            Column("target", [f"{target['figure']} {target['value']:g}" for _, target in asked]),
            Column("measured", reached("measured")),
            Column("predicted", reached("predicted")),
            Column("error", [percent(target["error"], signed=True) for _, target in asked]),
        ],
        WIDTH,
    )
    one_sided = f"; {found['one_sided']} reached it on one side only" * bool(found["one_sided"])
    return [
        *rows,
        "",
        f"to the target: median size of the error {percent(found['median_absolute_error'])} "
        f"({found['compared']} of {found['cases']} cases{one_sided}); ranking tau (pairs) {_tau(found)}.",
        "",
    ]


def _reasons(score: Score) -> list[str]:
    """A line for everything that is missed."""
    lines = []
    for case in score["cases"]:
        if case["failure"]:
            lines.append(f"DID NOT RUN: {case['case']}: {case['failure']}")
            continue
        lines += [f"MISSES: {case['case']}: {_missed(check)}" for check in case["checks"] if not check["passed"]]
        if not case["checks"][0]["passed"]:
            lines += [f"  {difference}" for difference in case["traffic_differences"]]
    for name, row in [*score["groups"].items(), ("all", score["total"] or {"checks": ()})]:
        lines += [f"MISSES: {name}: {_missed(check)}" for check in row["checks"] if not check["passed"]]
    return [*lines, ""] if lines else []


def _disturbed(found: Score) -> list[str]:
    """Who else was on the machine, if that was too much for a verdict to speak of the profile alone."""
    slow, stolen = found["slow"] or 0.0, found["stolen"] or 0.0
    if slow <= found["most_slow"] and stolen <= found["most_stolen"]:
        return []
    return [
        f"DISTURBED: others slowed the cores in {percent(slow)} of the looks at them during the real runs, and the",
        f"hypervisor took {percent(stolen)} of the processors' time: errors and floor speak of the neighbours too.",
        "Calibrate and measure again when the machine is quieter.",
        "",
    ]


def _missed(check: Score) -> str:
    if check["bound"] == 0:
        return f"{check['what']}: {check['value']}, none allowed"
    if "distance" in check["what"]:
        return f"{check['what']} {check['value']:.3f}, at most {check['bound']:.2f} allowed"
    return f"{check['what']} {percent(check['value'])}, at most {percent(check['bound'])} allowed"


def _seconds(value: float) -> str:
    return format_quantity(value, "seconds")


def _interval(case: Score) -> str:
    found = case["seconds_per_step"]["predicted"]
    low, high = (percent(found[end] / found["value"] - 1, signed=True) for end in ("low", "high"))
    return f"{low.removesuffix('%')} {high}"


def _staleness(case: Score) -> str:
    found = case["staleness"]
    return NONE if found is None else f"{percent(found['mean_error'], signed=True)}, {found['distance']:.2f}"


def _tau(row: Score) -> str:
    return f"{_number(row['ranking']['tau'])} ({row['ranking']['pairs']})"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
