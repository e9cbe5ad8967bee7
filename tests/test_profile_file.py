"""Profiles as files: what is written is read again, mistakes are named in a line, no half of a file is left."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from parasim.cluster.profile_file import find_profile, load_profile, profile_text, recorded, save_profile
from parasim.errors import ScenarioError
from tests.profiles import number, profile


def test_what_is_written_is_read_again(tmp_path):
    path = save_profile(profile(), tmp_path / "mine.json")
    assert load_profile(path) == profile()
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]


def test_resampled_noise_is_read_again(tmp_path):
    machine = profile(noise={"compute": {"kind": "resampled", "factors": (0.9, 1.0, 1.2)}})
    assert load_profile(save_profile(machine, tmp_path / "mine.json")) == machine


def set_to(*path_and_value):
    *path, last, value = path_and_value

    def change(data):
        for key in path:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_to("cores", 0), "cores: 0: "),
        (set_to("cores", "2"), "cores: '2': "),
        (set_to("flops", "value", 1.0), "flops: "),
        (set_to("flops", "unit", "GFLOP/s"), "flops: unit must be 'FLOP/s', got 'GFLOP/s'"),
        (set_to("flops", "low", 0.0), "flops: must be above 0"),
        (set_to("flops", "count", 0), "flops.count: 0: "),
        (set_to("flops", "colour", "red"), "flops.colour: unknown key"),
        (set_to("speed", 3), "speed: unknown key"),
        (set_to("kernels", "kernel", "sizes", [2.0, 1.0]), "kernels.kernel: sizes do not ascend"),
        (set_to("kernels", "kernel", "sizes", [2.0]), "kernels.kernel: has 1 sizes and 2 numbers"),
        (set_to("handling", "poste", {"value": 1.0, "low": 1.0, "high": 1.0, "count": 1}), "handling.poste: unknown"),
        (set_to("handling", "post", "unit", "bytes"), "handling.post: unit must be 'seconds'"),
        (set_to("handling", "post", "value", -1.0), "handling.post.value: -1.0: "),
        (set_to("contention", 0, "unit", "seconds"), "contention.0: unit must be empty, got 'seconds'"),
        (set_to("joint", "handling", [{"post": -1.0}]), "joint.handling.0.post: -1.0: "),
        (set_to("validity", "ranks", [8.0, 1.0]), "validity.ranks: 8 is more than 1"),
        (set_to("noise", "compute", {"sigma": 0.1}), "noise.compute: names no kind"),
        (set_to("noise", "compute", {"kind": 3}), "noise.compute: names no kind"),
        (set_to("parasim_profile", 7), "is a profile of format 7"),
        (lambda data: data.pop("parasim_profile"), "is no profile"),
        (lambda data: data.pop("memory"), "memory: is missing"),
    ],
)
def test_mistakes_are_named_in_a_line_with_a_remedy(tmp_path, change, words):
    path = tmp_path / "bad.json"
    data = json.loads(profile_text(profile()))
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ScenarioError) as error:
        load_profile(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "calibrate again" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no valid JSON"),
        (b'{"parasim_profile": 1, "na', "is no valid JSON"),
        (b"\xff\xfe", "is no valid JSON"),
        (b"[1, 2]", "holds no mapping"),
        (b'{"parasim_profile": 1, "cores": NaN}', "NaN is no number"),
        (b"[" * 100_000, "is no valid JSON"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path, content, words):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=words):
        load_profile(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ScenarioError, match=r"none\.json: can't be read: No such file"):
        load_profile(tmp_path / "none.json")


def test_names_with_a_path_are_files_and_others_are_recorded(tmp_path):
    assert find_profile("mine.json", tmp_path) == tmp_path / "mine.json"
    assert find_profile("sub/mine.json", tmp_path) == tmp_path / "sub" / "mine.json"
    for name, path in recorded().items():
        assert find_profile(name, tmp_path) == path
        load_profile(path)
    with pytest.raises(ScenarioError, match=r"no profile is recorded as 'no-such' \(there are: .*ends in .json"):
        find_profile("no-such", tmp_path)


def test_a_kill_leaves_the_file_before_or_the_whole_one(tmp_path):
    path = tmp_path / "mine.json"
    many = {f"handling {n}": number(1.0) for n in range(2000)}
    before = replace(profile(), drift=many)
    save_profile(before, path)
    code = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from parasim.cluster.profile_file import load_profile, save_profile\n"
        "machine = load_profile(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "for count in range(10**6):\n"
        "    save_profile(replace(machine, name=f'machine {count}'), sys.argv[1])\n"
    )
    for milliseconds in (1, 3, 7, 12, 20):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(milliseconds / 1000)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert load_profile(path).drift == many
    save_profile(before, path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]
