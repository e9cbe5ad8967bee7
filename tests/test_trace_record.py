"""Records of real runs, and following them."""

from __future__ import annotations

import gzip
import json

import pytest

from parasim.errors import ProgramError, ScenarioError
from parasim.trace.record import Record, Recorder


def recorded() -> Record:
    worker, server = Recorder(), Recorder()
    worker.resume("main#0")
    worker.choice("main#0", "any", "push#1")
    worker.resume("push#1")
    worker.choice("push#1", "poll", True)
    worker.choice("main#0", "decide", 0.1 + 0.2)
    server.resume("main#0")
    server.choice("main#0", "source", 1)
    server.choice("main#0", "source", 0)
    server.choice("main#0", "probe", False)
    return Record([worker.entries, server.entries], {"seed": 3, "scheme": "downpour", "workers": 2, "scenario": "ab12"})


@pytest.mark.parametrize("name", ["record.json", "record.json.gz"])
def test_round_trip(tmp_path, name):
    record = recorded()
    path = record.save(tmp_path / "new" / name)
    assert Record.load(path) == record
    data = path.read_bytes()
    assert (data[:2] == b"\x1f\x8b") == name.endswith(".gz")
    assert record.save(path).read_bytes() == data  # same record, same bytes


def test_script_follows_the_record():
    script = recorded().script(0)
    assert script.next_resume() == script.next_resume() == "main#0"
    script.resumed("main#0")
    # answers are taken per task, in whatever order tasks ask
    assert script.choice("push#1", "poll") is True
    assert script.choice("main#0", "any") == "push#1"
    assert script.choice("main#0", "decide") == 0.1 + 0.2
    script.resumed("push#1")
    assert script.next_resume() is None
    script.finish()


def test_departures_say_where():
    script = recorded().script(1)
    with pytest.raises(
        ProgramError, match=r"rank 1, resume 0: 'push#0' was resumed, the record has the turn of 'main#0'"
    ):
        script.resumed("push#0")
    script.resumed("main#0")
    with pytest.raises(ProgramError, match=r"resume 1: 'main#0' was resumed, .* nobody \(the record has ended\)"):
        script.resumed("main#0")
    assert script.choice("main#0", "source") == 1
    with pytest.raises(ProgramError, match=r"task 'main#0', choice 1: it asks for 'probe', the record has 'source' 0"):
        script.choice("main#0", "probe")
    with pytest.raises(
        ProgramError, match=r"task 'reply#0', choice 0: it asks for 'source', the record has nothing more"
    ):
        script.choice("reply#0", "source")
    with pytest.raises(ProgramError, match=r"task 'main#0', choice 1: the replay has ended, the record has 'source' 0"):
        script.finish()
    with pytest.raises(ProgramError, match="resume 0: the replay has ended, the record has the turn of 'main#0'"):
        recorded().script(1).finish()
    with pytest.raises(ProgramError, match=r"ranks 0\.\.1, not 2"):
        recorded().script(2)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "other"}, "not a record of a run"),
        ({"version": 9}, "record version 9, this parasim reads 1"),
        ({"meta": None}, "needs 'meta'"),
        ({"ranks": {}}, "needs 'meta'"),
        ({"ranks": [[], 3]}, "rank 1: 3 is not a list"),
        ({"ranks": [[["main#0", "resume"], ["main#0"]]]}, r"rank 0, entry 1: \['main#0'\] is no entry"),
        ({"ranks": [[["main#0", "resume", 1]]]}, "entry 0"),
        ({"ranks": [[["main#0", "guess", 1]]]}, "entry 0"),
        ({"ranks": [[["main#0", "source", "one"]]]}, "entry 0"),
        ({"ranks": [[["main#0", "source", True]]]}, "entry 0"),
        ({"ranks": [[["main#0", "poll", 1]]]}, "entry 0"),
        ({"ranks": [[[0, "poll", True]]]}, "entry 0"),
        ({"ranks": [[["main#0", "decide", None]]]}, "entry 0"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, change, complaint):
    path = recorded().save(tmp_path / "r.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ScenarioError, match=complaint) as caught:
        Record.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_refused_by_name(tmp_path):
    missing = tmp_path / "missing.json"
    with pytest.raises(ScenarioError, match=r"missing\.json: can't be read"):
        Record.load(missing)
    (tmp_path / "r.json").write_bytes(b"{]")
    (tmp_path / "r.gz").write_bytes(b"plain")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"{}" * 99)[:-9])
    (tmp_path / "bits.gz").write_bytes(gzip.compress(b"{}")[:10] + b"\xff" * 20)
    (tmp_path / "list.json").write_text("[]")
    for name in ("r.json", "r.gz", "cut.gz", "bits.gz", "list.json"):
        with pytest.raises(ScenarioError, match=name):
            Record.load(tmp_path / name)
