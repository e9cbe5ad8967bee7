"""A known change of one kind of operation is found, and nothing else is blamed."""

import pytest

import parasim
from calibration.checking.alignment import align
from calibration.checking.contributors import BETWEEN, WAITING, WORK, contributors, parts_of
from calibration.checking.explaining import explain
from calibration.checking.traces import load_trace, save_trace
from parasim.errors import CalibrationError
from parasim.report.crosscheck_explain import explain_table
from parasim.trace.rows import Row
from tests.crosscheck_setup import scenario

SCHEMES = {
    "ring": {"kind": "allreduce", "workers": 3},
    "overlapped": {"kind": "allreduce", "workers": 3, "bucket_bytes": 8000, "overlap": True},
    "server": {"kind": "downpour", "workers": 3, "servers": 1},
    "gossip": {"kind": "adpsgd", "workers": 4},
    "pipeline": {"kind": "gpipe", "workers": 2, "micro_batches": 4, "stages": [2, 2]},
}


def rows_of(name, **cluster):
    return parasim.simulate(scenario(SCHEMES[name], steps=5, **cluster)).trace.rows


def row(op, post, start, end, *, rank=0, lane="main", label="", **more):
    return Row(rank, "worker", rank, lane, f"{lane}#0", op, label, t_post=post, t_start=start, t_end=end, **more)


def later(rows, extra, chosen):
    """Every operation that is chosen takes `extra` seconds longer, and all that follows on its actor comes later."""
    found = []
    shift = 0.0
    for one in rows:
        if chosen(one):
            found.append(
                one._replace(t_post=one.t_post + shift, t_start=one.t_start + shift, t_end=one.t_end + shift + extra)
            )
            shift += extra
        else:
            found.append(one._replace(**{name: getattr(one, name) + shift for name in ("t_post", "t_start", "t_end")}))
    return found


STEPS = [
    row("compute", 0.0, 0.0, 1.0, label="forward", step=0),
    row("send", 1.0, 1.5, 2.5, label="exchange", peer=1),
    row("recv", 1.0, 2.0, 3.0, label="exchange", peer=1),
    row("log", 3.0, 3.0, 3.0, label="step"),
    row("compute", 3.25, 3.25, 4.25, label="forward", step=1),
    row("send", 4.25, 4.25, 5.0, label="exchange", peer=1),
    row("log", 5.0, 5.0, 5.0, label="step"),
]


def test_every_moment_goes_to_one_operation():
    parts = [(part.row and part.row.op, part.kind, part.seconds) for part in parts_of(STEPS)]
    assert parts == [
        ("compute", WORK, 1.0),
        ("send", WAITING, 0.5),
        ("send", WORK, 1.0),
        ("recv", WORK, 0.5),  # of an exchange: what its send leaves
        (None, BETWEEN, 0.25),
        ("compute", WORK, 1.0),
        ("send", WORK, 0.75),
    ]


def test_waiting_for_lanes_goes_to_what_they_do():
    rows = [
        row("compute", 0.0, 0.0, 1.0, label="backward"),
        row("wait", 1.0, 1.0, 4.0, label="first,second"),
        row("send", 0.5, 0.5, 2.0, lane="first", peer=1),
        row("wait", 1.0, 1.0, 3.0, lane="second", label="third"),
        row("recv", 0.0, 2.5, 3.0, lane="third", peer=2),
        row("compute", 3.25, 3.25, 4.0, lane="second", label="reduce"),
        row("send", 0.0, 0.0, 9.0, lane="daemon", peer=3),
    ]
    parts = [(part.row and part.row.op, part.kind, part.seconds) for part in parts_of(rows)]
    assert parts == [
        ("compute", WORK, 1.0),
        ("send", WORK, 1.0),
        ("recv", WAITING, 0.5),
        ("recv", WORK, 0.5),
        (None, BETWEEN, 0.25),
        ("compute", WORK, 0.75),
    ]


@pytest.mark.parametrize("name", SCHEMES)
def test_the_parts_sum_to_the_lane(name):
    rows = rows_of(name, noise={"kind": "lognormal", "sigma": 0.3})
    for rank in {one.rank for one in rows if one.role == "worker"}:
        own = [one for one in rows if one.rank == rank]
        ends = [one.t_end for one in own if one.lane == "main" and one.op != "log" and one.outcome != "closed"]
        parts = list(parts_of(own))
        assert all(part.seconds > 0 for part in parts)
        assert sum(part.seconds for part in parts) == pytest.approx(max(ends), rel=1e-9)


@pytest.mark.parametrize("name", SCHEMES)
def test_equal_traces_differ_in_nothing(name):
    rows = rows_of(name)
    found = align(rows, rows)
    assert found.matched == 1.0
    assert all(one is other for one, other in found.pairs)
    assert all(one.difference == 0 for one in contributors(rows, rows))


@pytest.mark.parametrize("name", ["ring", "overlapped", "pipeline"])
def test_synchronous_operations_all_have_a_counterpart_at_other_speeds(name):
    first = rows_of(name)
    second = rows_of(name, noise={"kind": "lognormal", "sigma": 0.8}, speeds={1: 0.3})
    found = align(first, second)
    assert found.matched == 1.0
    for one, other in found.pairs:
        assert (one.op, one.peer, one.nbytes, one.label) == (other.op, other.peer, other.nbytes, other.label)


def test_what_only_one_has_is_told():
    found = align(STEPS, STEPS[:-2])
    assert [one.op for one in found.only_first] == ["send"]
    assert found.matched == pytest.approx(8 / 9)
    assert align([], []).matched == 1.0


def test_a_slower_kind_of_operation_is_named_first():
    slower = later(STEPS, 0.1, lambda one: one.op == "compute")
    first, *others = contributors(STEPS, slower)
    assert (first.name, first.kind) == (("compute", "forward", ""), WORK)
    assert first.difference == pytest.approx(0.1)
    assert (first.real_count, first.simulated_count) == (1.0, 1.0)
    assert all(one.difference == pytest.approx(0.0) for one in others)


def test_waiting_longer_is_not_blamed_on_the_transfer():
    waiting = [one._replace(t_post=one.t_post - 0.2) if one.op == "send" else one for one in STEPS[:2]]
    longer = [waiting[0]._replace(t_end=0.8), *waiting[1:], *STEPS[2:]]
    first, second, *_ = contributors(STEPS, longer, ("op",))
    assert {(first.name, first.kind), (second.name, second.kind)} == {(("compute",), WORK), (("send",), WAITING)}
    assert first.difference == pytest.approx(-second.difference)


def test_differences_sum_to_that_of_the_step():
    first, second = rows_of("ring"), rows_of("ring", link={"bandwidth": "60 Mbit/s", "latency": "1 ms"})
    found = contributors(first, second)
    whole = explain("ring", first, second)
    assert sum(one.difference for one in found) == pytest.approx(whole["simulated"] - whole["real"])
    assert whole["simulated"] > whole["real"]
    assert found[0].name[0] in {"send", "recv"}


def test_the_peer_that_is_slow_is_named():
    first = rows_of("pipeline")
    second = rows_of("pipeline", links={"host0->switch": {"bandwidth": "10 Mbit/s"}})
    moves, waits, *others = contributors(first, second, ("rank", "op", "peer"))
    assert (moves.name, moves.kind) == (("1", "recv", "0"), WORK)
    assert (waits.name, waits.kind) == (("0", "recv", "1"), WAITING)
    assert moves.difference == pytest.approx(waits.difference)
    assert all(one.difference == pytest.approx(0.0, abs=1e-12) for one in others)


def test_the_table_shows_the_largest_and_sums_the_rest():
    explained = explain("ring", rows_of("ring"), rows_of("ring", link={"bandwidth": "50 Mbit/s"}))
    text = explain_table(explained)
    assert text.startswith("ring: a worker's step takes ")
    assert "100% of all operations have a counterpart" in text
    assert max(map(len, text.splitlines())) <= 120
    one = explained["groupings"][0]["contributors"][0]
    many = [{**one, "name": [f"n{place}"]} for place in range(20)]
    shown = explain_table({**explained, "groupings": [{"by": ["op"], "contributors": many}]})
    assert "5 more make" in shown


def test_traces_come_back_from_parquet_to_the_bit(tmp_path):
    trace = parasim.simulate(scenario(SCHEMES["server"], steps=3)).trace
    path = save_trace(trace, tmp_path / "deep" / "one.parquet")
    assert load_trace(path).digest() == trace.digest()
    assert [one.name for one in path.parent.iterdir()] == ["one.parquet"]


@pytest.mark.parametrize("content", [b"", b"not a table", None])
def test_what_is_no_trace_is_said_in_a_line(tmp_path, content):
    path = tmp_path / "bad.parquet"
    if content is None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"rank": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(CalibrationError, match="trace") as found:
        load_trace(path)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)
