"""A kind that an override or a variant replaces takes its options along, and says so."""

import warnings
from pathlib import Path

import pytest

import parasim
from parasim.errors import ScenarioError, ScenarioWarning

FILE = """\
name: kinds
workload: {model: {kind: mlp, width: 8, depth: 3}, batch_size: 4}
cluster:
  topology: {kind: star, hosts: 4}
  device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}
  link: {bandwidth: 1 Gbit/s}
  noise: {kind: lognormal, sigma: 0.1}
  stragglers:
  - {workers: [0], noise: {kind: lognormal, sigma: 0.5}}
scheme: {kind: allreduce, algorithm: rabenseifner, workers: 2, placement: {worker: [1, 2]}}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.5}
run: {steps: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kinds.yaml"
    path.write_text(FILE)
    return path


def test_options_of_the_former_kind_are_left_out_and_told(file: Path) -> None:
    with pytest.warns(ScenarioWarning) as told:
        scenario = parasim.load(file, ["scheme.kind=gpipe"])
    assert [str(warning.message) for warning in told] == [
        "override 'scheme.kind=gpipe': scheme: left out with the former kind 'allreduce': algorithm "
        "('gpipe' does not have it)"
    ]
    assert scenario.document["scheme"] == {"kind": "gpipe", "workers": 2, "placement": {"worker": [1, 2]}}
    assert scenario.placement == (1, 2)


def test_a_document_without_them_is_read_again_without_a_warning(file: Path) -> None:
    from parasim.scenario import from_document

    with pytest.warns(ScenarioWarning):
        scenario = parasim.load(file, ["scheme.kind=gpipe"])
    assert from_document(scenario.document).scheme.options == scenario.scheme.options


@pytest.mark.parametrize(
    ("override", "left"),
    [
        ("workload.model.kind=lenet5", "width, depth"),
        ("cluster.noise.kind=none", "sigma"),
        ("cluster.stragglers.0.noise.kind=none", "sigma"),
        ("optimizer.kind=adagrad", "momentum"),
    ],
)
def test_every_section_with_a_kind(file: Path, override: str, left: str) -> None:
    with pytest.warns(ScenarioWarning, match=f"override '{override}': [a-z.0-9]+: left out .*: {left} \\("):
        parasim.load(file, [override])


def test_what_the_overrides_themselves_give_stays_and_is_an_error(file: Path) -> None:
    for overrides in (["scheme.algorithm=ring", "scheme.kind=gpipe"], ["scheme.kind=gpipe", "scheme.algorithm=ring"]):
        with pytest.raises(ScenarioError, match=r"override 'scheme.algorithm=ring'.*unknown key of scheme 'gpipe'"):
            parasim.load(file, overrides)


def test_words_that_no_kind_knows_stay_errors(file: Path) -> None:
    file.write_text(FILE.replace("algorithm: rabenseifner", "algoritm: ring"))
    with pytest.raises(ScenarioError, match=r"kinds.yaml:\d+:\d+: scheme.algoritm: unknown key"):
        parasim.load(file, ["scheme.kind=gpipe"])
    file.write_text(FILE)
    with pytest.raises(ScenarioError, match="unknown scheme 'gpip'"):
        parasim.load(file, ["scheme.kind=gpip"])


def test_a_variant_does_the_same_and_a_whole_section_needs_no_warning(file: Path) -> None:
    file.write_text(FILE + "variants: {pipeline: {scheme.kind: gpipe}, server: {scheme: {kind: downpour}}, same: {}}\n")
    with pytest.warns(ScenarioWarning, match=r"kinds.yaml:\d+:\d+: scheme: left out"):
        assert parasim.load(file, variant="pipeline").scheme.name == "gpipe"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parasim.load(file, variant="server").scheme.options.workers == 3
        assert parasim.load(file, ["scheme.kind=ddp"], variant="same").scheme.options.algorithm == "rabenseifner"
