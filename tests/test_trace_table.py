"""The table of rows: order, files, digest; one table from the rows of many ranks."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.errors import ScenarioError
from parasim.trace.merge import merge
from parasim.trace.rows import COLUMNS, Row
from parasim.trace.table import Trace

LINE = Row(
    rank=1, role="worker", index=1, lane="comm", program="push#3", op="send", label='a "quoted", label', layer="fc\n1",
    peer=2, group="all", tag="g", message="1:17", buffer="gradient", nbytes=10**12, control_bytes=0, flops=0.1 + 0.2,
    step=3, micro=1, version_read=4, version_applied=9, outcome="", value=1 / 3, held_bytes=-5,
    t_post=0.1, t_start=0.2, t_end=1e-9 + 0.7,
)  # fmt: skip
NOTE = Row(0, "server", 0, "main", "main#0", "log", t_post=0.5, t_start=0.5, t_end=0.5)

rows = st.builds(
    Row,
    rank=st.integers(0, 3),
    role=st.sampled_from(["worker", "server"]),
    index=st.integers(0, 3),
    lane=st.text(st.characters(codec="utf-8"), max_size=4),
    program=st.just("main#0"),
    op=st.sampled_from(["compute", "log"]),
    label=st.text(st.characters(codec="utf-8"), max_size=4),
    flops=st.floats(allow_nan=False),
    value=st.none() | st.floats(allow_nan=False),
    t_post=st.floats(0, 9),
    t_start=st.floats(0, 9),
    t_end=st.floats(0, 9),
)


def test_rows_are_ordered_by_end_then_rank_then_arrival():
    def at(t_end, rank, label):
        return NOTE._replace(t_end=t_end, rank=rank, label=label)

    trace = Trace([at(2.0, 1, "d"), at(1.0, 1, "b"), at(1.0, 0, "a")])
    assert trace.column("label") == ["a", "b", "d"]
    trace.add(at(1.0, 1, "c"))
    assert [r.label for r in trace] == trace.column("label") == ["a", "b", "c", "d"]
    assert len(trace) == 4
    with pytest.raises(KeyError, match="no column 'colour'"):
        trace.column("colour")


@settings(max_examples=40)
@given(st.lists(rows, max_size=5))
def test_csv_keeps_every_bit(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("trace") / "deep" / "trace.csv"
    trace = Trace(found)
    trace.to_csv(path)
    again = Trace.from_csv(path)
    assert again.rows == trace.rows
    assert again.digest() == trace.digest()
    assert [child.name for child in path.parent.iterdir()] == ["trace.csv"]


def test_csv_of_awkward_text(tmp_path):
    path = Trace([LINE, NOTE]).to_csv(tmp_path / "t.csv")
    assert Trace.from_csv(path).rows == [NOTE, LINE]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_failed_write_leaves_the_old_file(tmp_path):
    path = Trace([LINE]).to_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="could not convert"):
        Trace([LINE._replace(value="no number")]).to_csv(path)
    assert Trace.from_csv(path).rows == [LINE]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        Trace([LINE]).to_csv(tmp_path / "folder")
    assert sorted(child.name for child in tmp_path.iterdir()) == ["folder", "t.csv"]


def test_errors_of_reading_name_the_file_and_line(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(ScenarioError, match=r"t\.csv: can't be read as a trace"):
        Trace.from_csv(path)
    path.write_text("a,b\n")
    with pytest.raises(ScenarioError, match=r"t\.csv:1:1: not a trace; the header must be rank,role"):
        Trace.from_csv(path)
    Trace([NOTE]).to_csv(path)
    good = path.read_text()
    path.write_text(good + good.splitlines()[1].replace("server", "server,one-too-many") + "\n")
    with pytest.raises(ScenarioError, match=r"t\.csv:3:1: not a row of a trace"):
        Trace.from_csv(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match=r"can't be read"):
        Trace.from_csv(path)


def test_digest_depends_on_content_only():
    digest = Trace([LINE, NOTE]).digest()
    assert digest == "18f30d903fa0f43be4fe61a517f1e03c7fcda490b6156e9714b65446e66424d1"
    assert Trace([NOTE, LINE]).digest() == digest
    assert Trace([NOTE, LINE._replace(flops=0.3)]).digest() != digest
    assert Trace([NOTE, LINE._replace(label="x")]).digest() != digest
    assert Trace([NOTE._replace(value=3.0)]).digest() == Trace([NOTE._replace(value=3)]).digest()
    assert Trace([NOTE._replace(value=0.0)]).digest() != Trace([NOTE]).digest()


def test_to_pandas():
    pandas = pytest.importorskip("pandas")
    frame = Trace([LINE, NOTE]).to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert frame["rank"].tolist() == [0, 1]
    assert isinstance(frame, pandas.DataFrame)


def test_pandas_is_not_imported_with_the_trace():
    import subprocess

    code = "import sys, parasim.trace.table, parasim.metrics.summary; print('pandas' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# merge -------------------------------------------------------------------------------------------------------------
def message(rank, op, t_post, t_start, t_end, name):
    return Row(rank, "worker", rank, "main", "main#0", op, message=name, nbytes=8,
               t_post=t_post, t_start=t_start, t_end=t_end)  # fmt: skip


def test_merge_puts_ranks_on_one_clock_and_gives_senders_their_start():
    # Rank 1's clock is 100 s behind. Its receive is posted at 5 + 100 = 105; rank 0 has been ready since 102.
    # What the sender saw as start (its own post) becomes 105; then the earliest post (101) becomes 0.
    sent = [
        Row(0, "worker", 0, "main", "main#0", "compute", t_post=101.0, t_start=101.0, t_end=102.0),
        message(0, "send", 102.0, 102.0, 107.0, "0:0"),
    ]
    received = [message(1, "recv", 5.0, 5.0, 7.0, "0:0")]
    compute, send, recv = merge([sent, received], [0.0, 100.0])
    assert (compute.t_post, compute.t_start, compute.t_end) == (0, 0, 1)
    assert (send.op, send.t_post, send.t_start, send.t_end) == ("send", 1, 4, 6)
    assert (recv.op, recv.t_post, recv.t_start, recv.t_end) == ("recv", 4, 4, 6)


def test_merge_keeps_starts_between_post_and_end():
    early = merge([[message(0, "send", 3.0, 3.0, 5.0, "0:0")], [message(1, "recv", 0.0, 2.5, 5.0, "0:0")]])
    assert [r.t_start for r in early if r.op == "send"] == [3.0]  # the clocks disagree: not before its own post
    late = merge([[message(0, "send", 0.0, 0.0, 4.0, "0:0")], [message(1, "recv", 1.0, 4.5, 5.0, "0:0")]])
    assert [r.t_start for r in late if r.op == "send"] == [4.0]  # nor after its own end
    alone = merge([[message(0, "send", 0.0, 1.0, 4.0, "0:7")]])
    assert [r.t_start for r in alone] == [1.0]


def test_merge_wants_an_offset_per_rank():
    assert len(merge([])) == 0
    with pytest.raises(ValueError, match="1 offsets for the rows of 2 ranks"):
        merge([[], []], [0.0])
