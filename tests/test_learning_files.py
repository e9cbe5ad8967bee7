"""Data from local files and their stand-ins: what is read, how it is cut, and one line about what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from parasim.errors import ScenarioError
from parasim.learning.build import make_learner, pin_threads
from parasim.learning.data import load_data
from parasim.scenario import from_document, load
from parasim.study.build import identity
from parasim.study.simulate import simulate
from parasim.workload import build_data
from parasim.workload.folders import CIFAR_RECORD


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def refusal(kind, **options):
    """The one line that says what is wrong."""
    with pytest.raises(ScenarioError) as error:
        load_data(kind, options, torch.float32)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def cifar(tmp_path):
    """Two batches with three images in all, and one image held out; pixel p of image i is (p + 7 i) mod 256."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    pixels = np.arange(CIFAR_RECORD - 1)
    records = [bytes([label, *((pixels + 7 * i) % 256)]) for i, label in enumerate((3, 0, 9, 5))]
    (folder / "data_batch_1.bin").write_bytes(records[0] + records[1])
    (folder / "data_batch_2.bin").write_bytes(records[2])
    (folder / "test_batch.bin").write_bytes(records[3])
    return folder


@pytest.fixture
def pictures(tmp_path):
    """Three classes with 4, 3 and 2 images of several sizes and kinds, each of one colour."""
    folder = tmp_path / "pictures"
    number = 0
    for label, count in (("ants", 4), ("bees", 3), ("cats", 2)):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            picture = Image.new("RGB", (5 + i, 7), (20 * number, 100, 200))
            picture.save(folder / label / f"{i}.{'jpg' if label == 'cats' else 'png'}", quality=100, subsampling=0)
            number += 1
    (folder / ".hidden").write_text("not looked at")
    (folder / "notes.txt").write_text("about the pictures")
    return folder


def test_cifar_is_read_channel_by_channel_and_standardised(cifar):
    spec = build_data("cifar10", {"path": str(cifar)})
    assert (spec.samples, spec.held_out, spec.input_shape, spec.outputs) == (3, 1, (3, 32, 32), 10)
    assert not spec.synthetic
    data = load_data("cifar10", {"path": str(cifar)}, torch.float64)
    assert data.targets.tolist() == [3, 0, 9]
    assert data.held_out_targets.tolist() == [5]
    assert data.inputs.dtype == torch.uint8
    expected = (np.arange(3072)[None] + 7 * np.arange(3)[:, None]) % 256
    np.testing.assert_array_equal(data.inputs.numpy(), expected)
    numbers = data.ready(data.inputs).view(3, 3, 1024)
    for channel in range(3):
        torch.testing.assert_close(numbers[:, channel].mean(), torch.tensor(0.0, dtype=torch.float64))
        torch.testing.assert_close(numbers[:, channel].std(correction=0), torch.tensor(1.0, dtype=torch.float64))
    blue = expected.reshape(3, 3, 1024)[:, 2]
    first = (blue[1, 5] - blue.mean()) / blue.std()
    assert float(numbers[1, 2, 5]) == pytest.approx(first, rel=1e-12)


def test_a_learner_takes_standardised_images(cifar):
    learner = make_learner("lenet5", {}, "cifar10", {"path": str(cifar)}, 0, "float32")
    ids = torch.tensor([2, 0])
    inputs = learner.inputs(ids)
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs.view(2, -1), learner.data.ready(learner.data.inputs[ids]))
    assert learner.loss(learner.initial(learner.model.whole)) > 0
    elsewhere = make_learner("lenet5", {}, "cifar10", {"path": str(cifar)}, 0, "float32", "meta")
    assert elsewhere.inputs(elsewhere.samples(0, 0, 2, 2)).device.type == "meta"


def test_wrong_cifar_files_are_named(cifar, tmp_path):
    assert "path is missing" in refusal("cifar10")
    assert "cifar-10-binary.tar.gz" in refusal("cifar10")
    assert "No such file" in refusal("cifar10", path=str(tmp_path / "nothing"))
    (cifar / "data_batch_2.bin").write_bytes(bytes(CIFAR_RECORD + 1))
    assert f"data_batch_2.bin has {CIFAR_RECORD + 1} bytes, no multiple of the {CIFAR_RECORD}" in refusal(
        "cifar10", path=str(cifar)
    )
    (cifar / "data_batch_2.bin").write_bytes(bytes([10]) + bytes(CIFAR_RECORD - 1))
    assert "data_batch_2.bin has an image of class 10" in refusal("cifar10", path=str(cifar))
    (cifar / "test_batch.bin").unlink()
    assert "has no test_batch.bin" in refusal("cifar10", path=str(cifar))
    assert "has no data_batch_1.bin" in refusal("cifar10", path=str(tmp_path))


def test_pickled_cifar_is_refused_and_not_opened(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    message = refusal("cifar10", path=str(folder))
    assert "pickled code and is not opened" in message
    assert "binary version" in message


def test_a_folder_of_images_in_order_of_names(pictures):
    options = {"path": str(pictures), "size": 4}
    spec = build_data("image_folder", options)
    assert (spec.samples, spec.held_out, spec.input_shape, spec.outputs) == (7, 2, (3, 4, 4), 3)
    data = load_data("image_folder", options, torch.float32)
    assert data.held_out_targets.tolist() == [0, 1]  # images 0 and 5 of 9
    assert data.targets.tolist() == [0, 0, 0, 1, 1, 2, 2]
    red = data.inputs.view(7, 3, 16)[:, 0]
    expected = torch.tensor([20, 40, 60, 80, 120, 140, 160])
    assert bool((red.float() - expected.view(7, 1)).abs().max() <= 2)  # JPEG rounds
    numbers = data.ready(data.inputs).view(7, 3, 16)
    assert float(numbers[:, 0].mean()) == pytest.approx(0.0, abs=1e-6)
    assert bool(numbers.isfinite().all())


def test_grey_images_have_one_channel(pictures):
    data = load_data("image_folder", {"path": str(pictures), "size": 3, "channels": 1}, torch.float32)
    assert data.inputs.shape == (7, 9)
    weights = np.array([299, 587, 114]) / 1000  # ITU-R 601 luma
    assert int(data.inputs[0, 0]) == pytest.approx(weights @ [20, 100, 200], abs=1)


def test_wrong_folders_of_images_are_named(pictures, tmp_path):
    assert "path is missing" in refusal("image_folder")
    (tmp_path / "file").write_text("")
    assert "relative to the scenario file" in refusal("image_folder", path="nowhere")
    assert "can't be read (Not a directory)" in refusal("image_folder", path=str(tmp_path / "file"))
    bad = pictures / "bees" / "1.png"
    bad.write_bytes(b"GIF89a")
    assert "bees/1.png can't be read as an image" in refusal("image_folder", path=str(pictures))
    bad.rename(pictures / "bees" / "1.txt")
    assert "1.txt is neither PNG nor JPEG" in refusal("image_folder", path=str(pictures))
    (pictures / "bees" / "1.txt").rename(pictures / "loose.png")
    assert "loose.png is in no class" in refusal("image_folder", path=str(pictures))
    (pictures / "loose.png").unlink()
    (pictures / "empty").mkdir()
    assert "empty has no images" in refusal("image_folder", path=str(pictures))
    assert "has 0 sub-folders" in refusal("image_folder", path=str(pictures / "ants" / ".." / "empty"))
    assert "can't be printed" in refusal("image_folder", path="a\nb")
    assert "a path of 501 characters is too long" in refusal("image_folder", path="x" * 501)


def test_images_are_patterns_and_noise():
    options = {"samples": 40, "size": 8, "classes": 4, "channels": 2, "noise": 0.0}
    data = load_data("images", options, torch.float64)
    assert data.spec.synthetic
    assert data.inputs.shape == (40, 128)
    assert data.held_out_inputs.shape == (10, 128)
    assert data.targets[:6].tolist() == [0, 1, 2, 3, 0, 1]
    for label in range(4):
        assert len(data.inputs[data.targets == label].unique(dim=0)) == 1
    image = data.inputs[0].view(2, 8, 8)
    assert torch.equal(image[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2), image)  # 4 x 4 blocks
    noisy = load_data("images", {**options, "noise": 2.0, "samples": 400}, torch.float64)
    patterns = data.inputs[:4][noisy.targets]
    assert float((noisy.inputs - patterns).std()) == pytest.approx(2.0, rel=0.02)
    assert not torch.equal(load_data("images", {**options, "seed": 1}, torch.float64).inputs, data.inputs)
    same = load_data("images", options, torch.float32).inputs
    assert torch.equal(same.double(), data.inputs)


def test_text_is_cut_into_sequences_whose_targets_are_one_further(tmp_path):
    text = "abcdefghij" * 10
    (tmp_path / "text.txt").write_text(text)
    options = {"path": str(tmp_path / "text.txt"), "sequence": 4}
    spec = build_data("characters", options)
    assert (spec.samples, spec.held_out, spec.input_shape, spec.outputs) == (22, 2, (4,), 10)
    assert (spec.input_elements, spec.output_elements) == (4, 40)
    assert not spec.synthetic
    data = load_data("characters", options, torch.float32)
    assert data.inputs[:3].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert data.targets[:3].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2]]
    assert data.held_out_inputs.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert data.held_out_targets.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_characters_of_any_alphabet(tmp_path):
    text = "žluťoučký kůň 🐴 " * 20
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    options = {"path": str(tmp_path / "text.txt"), "sequence": 16}
    data = load_data("characters", options, torch.float32)
    letters = sorted(set(text))
    assert data.spec.outputs == len(letters)
    assert "".join(letters[token] for token in data.inputs.flatten().tolist()) == text[: data.inputs.numel()]
    (tmp_path / "text.txt").write_text(text[::-1] + "!", encoding="utf-8")  # read again when it has changed
    assert build_data("characters", options).outputs == len(letters) + 1


def test_the_stand_in_text_is_labelled_and_always_the_same():
    spec = build_data("characters", {})
    assert spec.synthetic
    assert (spec.samples, spec.outputs) == (921, 27)
    first, again = (load_data("characters", {}, torch.float32).inputs for _ in range(2))
    assert torch.equal(first, again)


def test_wrong_texts_are_named(tmp_path):
    file = tmp_path / "text.txt"
    assert "No such file" in refusal("characters", path=str(file))
    file.write_text("too short")
    assert "a text of 9 characters is too short for sequences of 64" in refusal("characters", path=str(file))
    file.write_bytes(b"\xff\xfe" * 2000)
    assert "is no UTF-8 text (byte 0)" in refusal("characters", path=str(file))
    file.write_text("a" * 2000)
    assert "repeats one character" in refusal("characters", path=str(file))
    assert "Is a directory" in refusal("characters", path=str(tmp_path))


@pytest.mark.parametrize("length", [70, 109, 110, 1000])
@pytest.mark.parametrize("sequence", [1, 10])
def test_the_least_text_that_is_named_suffices(tmp_path, length, sequence):
    file = tmp_path / "text.txt"
    file.write_text(("ab" * length)[:length])
    options = {"path": str(file), "sequence": sequence}
    if length < 10 * (sequence + 1):
        assert f"give at least {10 * (sequence + 1)} characters" in refusal("characters", **options)
    else:
        assert load_data("characters", options, torch.float32).held_out_inputs.numel() > 0


def scenario(**data):
    return {
        "workload": {"model": {"kind": "lenet5"}, "batch_size": 2, "data": data},
        "cluster": {
            "topology": {"kind": "star", "hosts": 2},
            "device": {"flops": "1 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "1 GB/s"},
            "link": {"bandwidth": "1 Gbit/s", "latency": "10 us"},
        },
        "scheme": {"kind": "allreduce", "workers": 2},
        "run": {"steps": 1, "learn": True},
    }


def test_paths_are_relative_to_the_scenario_file(cifar, tmp_path, monkeypatch):
    """Written in JSON, which is YAML; ranks read the document again with the source, and find the same files."""
    place = tmp_path / "scenarios"
    place.mkdir()
    file = place / "mine.yaml"
    file.write_text(json.dumps(scenario(kind="cifar10", path=f"../{cifar.name}")))
    read = load(file)
    assert read.workload.data.samples == 3
    again = from_document(read.document, read.source).workload
    assert (again.data, again.data_options) == (read.workload.data, read.workload.data_options)
    monkeypatch.chdir(tmp_path)
    near = load("scenarios/mine.yaml")
    assert near.workload.data == read.workload.data
    assert identity(near) == identity(read)  # a record of the one is a record of the other
    absolute = load(file, [f"workload.data.path={cifar}"])
    assert absolute.workload.data == read.workload.data
    file.write_text(json.dumps(scenario(kind="cifar10", path="elsewhere")))
    with pytest.raises(
        ScenarioError, match=r"mine\.yaml:1:\d+: workload.data: data cifar10: .*elsewhere can't be read"
    ):
        load(file)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ({"kind": "lenet5"}, {"kind": "characters"}, "model lenet5 takes images"),
        (
            {"kind": "gpt", "tied": False},
            {"kind": "images"},
            "model gpt takes sequences of tokens, data images are none",
        ),
        ({"kind": "mlp"}, {"kind": "characters"}, "not numbers for model mlp; use model gpt"),
        ({"kind": "cnn"}, {"kind": "images"}, "data images have 3 channels"),
        ({"kind": "resnet20", "channels": 1}, {"kind": "images"}, "channels is 1, but data images have 3"),
        ({"kind": "resnet20", "classes": 100}, {"kind": "images"}, "classes is 100, but data images have 10"),
        ({"kind": "gpt", "vocabulary": 5}, {"kind": "characters"}, "vocabulary is 5, but data characters have 27"),
        ({"kind": "gpt", "sequence": 5}, {"kind": "characters"}, "sequence is 5, but data characters have 64"),
        ({"kind": "lenet5"}, {"kind": "regression", "inputs": 15}, "model lenet5 takes images"),
    ],
)
def test_models_and_data_that_do_not_fit(model, data, words):
    document = scenario(**data)
    document["workload"]["model"] = model
    with pytest.raises(ScenarioError, match=words) as error:
        from_document(document)
    assert "\n" not in str(error.value)


def test_the_files_of_a_document_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks read the document where they run, which need not be where the scenario was read."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "text.txt").write_text("parallel " * 100)
    (tmp_path / "here" / "net.json").write_text(
        json.dumps({"directed": False, "nodes": [{"id": 0}, {"id": 1}], "links": [{"source": 0, "target": 1}]})
    )
    (tmp_path / "here" / "text.yaml").write_text(
        "workload: {model: {kind: gpt, layers: 1, hidden: 8, heads: 2, tied: false}, batch_size: 2,"
        " data: {kind: characters, path: text.txt, sequence: 8}}\n"
        "cluster: {topology: {kind: graph, file: net.json}, link: {bandwidth: 1 Gbit/s, latency: 1 us},"
        " device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}}\n"
        "scheme: {kind: allreduce, workers: 2}\nrun: {steps: 1, learn: true}\n"
    )
    monkeypatch.chdir(tmp_path)
    scenario = load("here/text.yaml")
    document = json.loads(json.dumps(scenario.document))
    monkeypatch.chdir(Path(tmp_path.root))
    again = from_document(document, scenario.source)
    assert again.workload.data_options["path"] == str(tmp_path / "here" / "text.txt")
    assert again.cluster.wiring() == scenario.cluster.wiring()
    assert again.document == scenario.document
    assert simulate(again).summary["loss"]
