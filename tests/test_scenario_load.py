"""Loading: from the example of the design to objects in SI units; overrides, variants, and what is refused."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parasim.errors import ScenarioError
from parasim.program import Shared
from parasim.scenario import from_document, load, load_all
from parasim.schemes.allreduce import AllReduce
from parasim.simulation.noise import LogNormal
from parasim.workload import MODELS
from tests.effort import SECOND, calls_of

MODEL_KINDS = ", ".join(sorted(MODELS))
EXAMPLE = """\
name: eight workers behind one switch
workload:
  model: {kind: mlp, width: 1024, depth: 4}
  batch_size: 64
  data: {kind: digits}
cluster:
  topology: {kind: star, hosts: 8}
  host: {cores: 1}
  device: {flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}
  link: {bandwidth: 10 Gbit/s, latency: 50 us}
  noise: {kind: lognormal, sigma: 0.1}
scheme: {kind: allreduce, algorithm: ring, workers: 8}
optimizer: {kind: sgd, lr: 0.1}
run: {steps: 100, seed: 0, learn: false}
"""
VARIANTS = (
    EXAMPLE
    + """\
variants:
  ring: {scheme.algorithm: ring}
  ps:
    scheme: {kind: downpour, workers: 7}
    run.steps: 5
"""
)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(EXAMPLE)
    return path


def message(path: Path, *overrides: str, variant: str | None = None) -> str:
    """The error's one line, with FILE for the path."""
    with pytest.raises(ScenarioError) as error:
        load(path, overrides, variant)
    text = str(error.value)
    assert "\n" not in text
    return text.replace(str(path), "FILE")


def test_the_example_of_the_design(example: Path) -> None:
    scenario = load(example)
    assert scenario.name == "eight workers behind one switch"
    assert (scenario.cluster.hosts, scenario.cluster.host.cores) == (8, 1)
    assert scenario.cluster.device.flops == 50e9
    assert scenario.cluster.device.memory == 16 * 2**30
    assert scenario.cluster.link.bandwidth == 1.25e9
    assert scenario.cluster.link.latency == 5e-5
    assert scenario.cluster.loopback.bandwidth == 20e9
    assert scenario.cluster.loopback.latency == 0.0
    assert scenario.cluster.noise == LogNormal(0.1)
    assert not scenario.cluster.device.calibrated
    assert scenario.workload.model.layers[0].parameters == 64 * 1024
    assert scenario.workload.model.itemsize == 4
    assert scenario.workload.data is not None
    assert scenario.scheme.name == "allreduce"
    assert (scenario.scheme.options.algorithm, scenario.scheme.options.workers) == ("ring", 8)
    assert scenario.placement == tuple(range(8))
    assert scenario.optimizer.kind == "sgd"
    assert scenario.optimizer.options["lr"] == 0.1
    assert (scenario.run.steps, scenario.run.trace, scenario.execute.compute) == (100, "rows", "real")


def test_the_document_gives_the_same_scenario(example: Path) -> None:
    scenario = load(example, ["scheme.workers=4", "workload.dtype=float64"])
    again = from_document(scenario.document)
    assert again.document == scenario.document
    assert again.scheme.options == scenario.scheme.options
    assert again.workload.model.itemsize == 8


def test_defaults(example: Path) -> None:
    scenario = load(example, ["optimizer=null", "cluster.noise=null", "scheme={kind: allreduce}", "workload.data=null"])
    assert scenario.optimizer.kind == "sgd"
    assert scenario.cluster.noise.kind == "none"
    assert scenario.scheme.options.workers == 8
    assert scenario.workload.data is None
    with_server = load(example, ["scheme={kind: downpour}"])
    assert with_server.scheme.options.workers == 7
    assert with_server.placement == tuple(range(8))


def test_overrides_of_every_shape(example: Path) -> None:
    scenario = load(
        example,
        [
            "cluster.link={bandwidth: 1 GB/s}",
            "cluster.link.latency=2 ms",
            "cluster.loopback.latency=1 us",
            "cluster.speeds={3: 0.5}",
            "workload.model={kind: layers, layers: [{parameters: 10, output_elements: 10}, {output_elements: 10}]}",
            "workload.model.layers.0.input_elements=64",
            "workload.model.layers.1.repeat=3",
            "run.steps=7",
            "run.steps=8",
        ],
    )
    assert scenario.cluster.link.bandwidth == 1e9
    assert scenario.cluster.link.latency == 2e-3
    assert scenario.cluster.loopback.latency == 1e-6
    assert scenario.cluster.loopback.bandwidth == 20e9
    assert scenario.cluster.speeds == {3: 0.5}
    assert len(scenario.workload.model.layers) == 4
    assert scenario.run.steps == 8


@pytest.mark.parametrize(
    ("line", "written", "expected"),
    [
        (4, "  batchsize: 64", "4:3: workload.batchsize: unknown key (did you mean 'batch_size'?)"),
        (4, "  batch_size: 64.5", "4:15: workload.batch_size: 64.5 is no whole number"),
        (4, "  batch_size: 0", "4:15: workload.batch_size: 0 must be at least 1"),
        (4, "  batch_size: '64'", "4:15: workload.batch_size: '64' is no whole number"),
        (4, "  batch_size:", "4:3: workload.batch_size: has no value"),
        (4, "", "3:3: workload.batch_size: is missing (samples per worker (per pipeline) and step)"),
        (3, "  model: {kind: mpl}", "3:17: workload.model.kind: unknown model 'mpl' (did you mean 'mlp'?)"),
        (
            3,
            "  model: mlp",
            "3:10: workload.model: is 'mlp', no mapping: write model: {kind: mlp, width: 1024, depth: 4}",
        ),
        (3, "  model: {width: 4}", f"3:10: workload.model.kind: is missing (there are: {MODEL_KINDS})"),
        (
            3,
            "  model: {kind: mlp, depth: 1000000000000}",
            "3:29: workload.model.depth: 1000000000000 layers are too many; the limit is 10000",
        ),
        (
            7,
            "  topology: {kind: start, hosts: 8}",
            "7:20: cluster.topology.kind: unknown topology 'start' (did you mean 'star'?)",
        ),
        (
            7,
            "  topology: {kind: star, hosts: 2000000}",
            "7:33: cluster.topology.hosts: 2000000 must be at most 1000000",
        ),
        (
            7,
            "  topology: {kind: star, host: 8}",
            "7:26: cluster.topology.host: unknown key of topology 'star' (did you mean 'hosts'?)",
        ),
        (
            10,
            "  link: {bandwidth: 10, latency: 50 us}",
            "10:21: cluster.link.bandwidth: 10 has no unit: write '10 Gbit/s'",
        ),
        (
            10,
            "  link: {bandwidth: 10 Gb/s}",
            "10:21: cluster.link.bandwidth: '10 Gb/s': 'Gb/s' may mean bits or bytes: write '10 Gbit/s' or '10 GB/s'",
        ),
        (10, "  link: {bandwidth: 0 GB/s}", "10:21: cluster.link.bandwidth: '0 GB/s' must be greater than 0"),
        (10, "  link: {bandwidth: .nan}", "10:21: cluster.link.bandwidth: nan is not finite: write '10 Gbit/s'"),
        (10, "  link: {bandwidth: -1 GB/s}", "10:21: cluster.link.bandwidth: '-1 GB/s' is negative"),
        (
            10,
            "  link: {latency: 1 us}",
            "10:9: cluster.link.bandwidth: is missing (of each link and direction): write bandwidth: 10 Gbit/s",
        ),
        (11, "  noise: {kind: lognormal, sigma: .nan}", "11:35: cluster.noise.sigma: nan is not finite"),
        (11, "  noise: {kind: lognormal, sigma: -0.1}", "11:35: cluster.noise.sigma: -0.1 must be at least 0"),
        (11, "  noise: {kind: resampled, factors: [1, x]}", "11:41: cluster.noise.factors.1: 'x' is no number"),
        (
            11,
            "  noise: {kind: resampled, factors: []}",
            "11:10: cluster.noise: resampled noise: factors must be one or more measured numbers, got none",
        ),
        (11, "  speeds: {9: 0.5}", "11:12: cluster.speeds.9: there is no such worker (workers: 0..7)"),
        (11, "  speeds: {1: 0}", "11:15: cluster.speeds.1: 0 must be a number from 1e-06 to 1e+06"),
        (
            11,
            "  speeds: {first: 2}",
            "11:12: cluster.speeds.first: is no worker index: write {3: 0.5} to halve the speed of worker 3",
        ),
        (12, "scheme: {kind: alreduce}", "12:16: scheme.kind: unknown scheme 'alreduce' (did you mean 'allreduce'?)"),
        (
            12,
            "scheme: {kind: allreduce, algoritm: ring}",
            "12:27: scheme.algoritm: unknown key of scheme 'allreduce' (did you mean 'algorithm'?)",
        ),
        (
            12,
            "scheme: {kind: allreduce, workers: 1000000000}",
            "12:36: scheme.workers: 1000000000 workers are too many; the limit is 1000000",
        ),
        (12, "scheme: {kind: allreduce, overlap: yes}", "12:36: scheme.overlap: 'yes' must be true or false"),
        (
            12,
            "scheme: {kind: downpour, servers: 1000000000}",
            "12:9: scheme: 1000000001 actors are too many; the limit is 1000000",
        ),
        (
            12,
            "scheme: {kind: allreduce, placement: {worker: [8]}}",
            "12:38: scheme.placement: role 'worker': host 8 does not exist (hosts: 0..7)",
        ),
        (
            12,
            "scheme: {kind: allreduce, placement: {worker: 1}}",
            "12:47: scheme.placement.worker: 1 must be a list of hosts, as in [0, 1]",
        ),
        (
            12,
            "scheme: {kind: gpipe, workers: 8}",
            "12:9: scheme: 8 stages need at least 8 layers; mlp has 4",
        ),
        (
            12,
            "scheme: {kind: gpipe, workers: 2, micro_batches: 7}",
            "12:9: scheme: batch_size 64 is no multiple of micro_batches 7",
        ),
        (12, "scheme: {kind: adpsgd, workers: 1}", "12:9: scheme: AD-PSGD needs 2 workers or more"),
        (
            11,
            "  noise: {kind: resampled, factors: [1, 0]}",
            "11:41: cluster.noise.factors.1: 0 must be greater than 0",
        ),
        (
            11,
            "  noise: {kind: resampled, factors: [" + "9" * 100 + "]}",
            "11:38: cluster.noise.factors.0: a number of very many digits must be at most 1e+09",
        ),
        (
            11,
            "  noise: {kind: resampled, factors: [" + "9" * 101 + "]}",
            "11:38: cluster.noise.factors.0: a number of 101 digits is too long",
        ),
        (11, "  speeds: {0: 1e999}", "11:15: cluster.speeds.0: inf must be a number from 1e-06 to 1e+06"),
        (13, "optimizer: {kind: sgd, lr: .inf}", "13:28: optimizer.lr: inf is not finite"),
        (13, "optimizer: {kind: sgd, lr: 0}", "13:28: optimizer.lr: 0 must be greater than 0"),
        (13, "optimiser: {kind: sgd}", "13:1: optimiser: unknown key (did you mean 'optimizer'?)"),
        (14, "run: {steps: 100, learn: maybe}", "14:26: run.learn: 'maybe' must be true or false"),
        (
            14,
            "run: {steps: 100, trace: row}",
            "14:26: run.trace: 'row' is none of rows, aggregate (did you mean 'rows'?)",
        ),
        (
            14,
            "run: {steps: 100, seed: " + "9" * 30 + "}",
            "14:25: run.seed: " + "9" * 30 + " is too large (the limit is 10^18)",
        ),
        (14, "run: {seed: 1}", "14:6: run.steps: is missing: write steps: 100 (of each worker), or epochs: 2"),
        (14, "", "1:1: run: is missing: write run: {steps: 100}"),
        (1, "name: 5", "1:7: name: 5 must be a text of 1 to 200 printable characters"),
    ],
)
def test_one_line_with_the_right_place(tmp_path: Path, line: int, written: str, expected: str) -> None:
    lines = EXAMPLE.splitlines()
    lines[line - 1] = written
    path = tmp_path / "example.yaml"
    path.write_text("\n".join(lines))
    started = time.process_time()
    assert message(path) == f"FILE:{expected}"
    assert time.process_time() - started < 1  # some 20 ms; of the processor, so others on the cores don't count


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("scheme.workers=many", "scheme.workers: 'many' is no whole number"),
        ("scheme.wrkers=4", "scheme.wrkers: unknown key of scheme 'allreduce' (did you mean 'workers'?)"),
        ("cluster.lnk.latency=1 us", "cluster.lnk: unknown key (did you mean 'link'?)"),
        ("run.steps", "write key.path=value, as in scheme.workers=16"),
        ("run.steps=", "has no value: write run.steps=value ('null' removes the key)"),
        ("=5", "key '' has an empty part: write it as in scheme.workers"),
        ("run..steps=5", "key 'run..steps' has an empty part: write it as in scheme.workers"),
        (
            "scheme.x.99999999999999999999=5",
            "scheme.x: unknown key of scheme 'allreduce' (there are: "
            "algorithm, bucket_bytes, first_bucket_bytes, kind, overlap, placement, rows, workers)",
        ),
        ("run.steps=1e999", "run.steps: inf is no whole number"),
        ("cluster.link.latency=1e999", "cluster.link.latency: inf is not finite: write '50 us'"),
        (".".join("a" * 25) + "=1", "the key has more than 24 parts, the limit"),
        ("run.steps.x=5", "run.steps is 100, no section that could hold 'x'"),
        ("run.steps={a: 1}", "run.steps: {'a': 1} is no whole number"),
        ("run.steps=!!int 5", "tag '!!int' is not allowed: write a plain value"),
        ("variants.x={}", "variants can't be overridden: edit the file"),
        ("execute.compute=pacd", "execute.compute: 'pacd' is none of real, paced (did you mean 'paced'?)"),
    ],
)
def test_errors_of_overrides(example: Path, override: str, expected: str) -> None:
    assert message(example, override) == f"override '{override}': {expected}"


def test_sections_are_checked_together(example: Path) -> None:
    assert message(example, "run.learn=true", "workload.data=null") == (
        "override 'run.learn=true': run.learn: needs data: write workload: {data: {kind: digits}}, or learn: false"
    )
    wide = message(example, "run.learn=true", "workload.model.width=100000")
    assert wide.endswith("parameters over all actors are too many; the limit is 2147483648")
    data = message(example, "run.learn=true", "workload.data={kind: regression, samples: 1000000000}")
    assert data.endswith("run.learn: data of 16000000000 numbers are too many; the limit is 2147483648")
    batch = message(example, "run.learn=true", "workload.batch_size=1000000000")
    assert batch.endswith("run.learn: batches of 3146000000000 stored numbers are too large; the limit is 2147483648")
    flops = message(
        example, "workload={model: {kind: layers, layers: [{forward_flops: 1e308, repeat: 9}]}, batch_size: 1}"
    )
    assert flops.endswith("workload.model: has inf FLOP per sample, more than 1e+30")
    huge = message(example, "workload.model.width=1000000000000")
    assert huge.endswith("bytes of parameters, more than 10^18")
    layers = "workload.model={kind: layers, layers: [{input_elements: 64, output_elements: 10}]}"
    assert "can't be trained" in message(example, "run.learn=true", layers)
    both = message(example, "scheme.placement={worker: [0]}", "cluster.placement={worker: [0]}")
    assert both.endswith("scheme.placement: is given under cluster too: keep one of the two")
    assert load(example, ["cluster.placement={worker: [1, 2]}"]).placement == (1, 2) * 4


def test_variants(tmp_path: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(VARIANTS)
    ring, ps = load_all(path)
    assert (ring.variant, ps.variant) == ("ring", "ps")
    assert ring.name == "eight workers behind one switch [ring]"
    assert (ps.scheme.name, ps.scheme.options.workers, ps.run.steps) == ("downpour", 7, 5)
    assert [s.run.steps for s in load_all(path, ["run.steps=9"])] == [9, 9]
    assert load(path, variant="ps").document == ps.document
    assert "variants" not in ps.document
    assert message(path) == (
        "FILE:15:1: variants: the file holds 2 scenarios: choose variant= one of ring, ps, or use load_all"
    )
    assert message(path, variant="rings") == "FILE:15:1: variants: has no variant 'rings' (did you mean 'ring'?)"


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ("variants: {}", "15:11: variants: is empty: name a variant, or remove it"),
        ("variants: [a]", "15:11: variants: is ['a'], no mapping: write variants: {ring: {scheme.kind: allreduce}}"),
        ("variants: {a: 5}", "15:15: variants.a: must be a mapping of overrides, as in {scheme.workers: 16}"),
        ("variants:\n  a: {run.stps: 5}", "16:17: run.stps: unknown key (did you mean 'steps'?)"),
        (
            "variants:\n  a:\n    scheme:\n      kind: sequental",
            "18:13: scheme.kind: unknown scheme 'sequental' (did you mean 'sequential'?)",
        ),
        ("variants:\n  a: {variants.b: 5}", "16:7: variants can't be overridden: edit the file"),
    ],
)
def test_errors_in_variants(tmp_path: Path, variants: str, expected: str) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(EXAMPLE + variants)
    with pytest.raises(ScenarioError) as error:
        load_all(path)
    assert str(error.value) == f"{path}:{expected}"


def test_a_file_without_variants_has_none_to_choose(example: Path) -> None:
    assert message(example, variant="ring") == "FILE: has no variants, so no 'ring': leave the variant out"
    assert [scenario.variant for scenario in load_all(example)] == [""]


def test_shared_memory_is_of_one_machine(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AllReduce, "shared", lambda self, model: (Shared("weights", 8),))
    assert message(example) == (
        "FILE:12:9: scheme: its memory is shared, but its actors sit on 8 hosts: write placement with one host per role"
    )
    assert load(example, ["scheme.placement={worker: [3]}"]).placement == (3,) * 8


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ("".join(f"  v{i}: {{run.seed: {i}}}\n" for i in range(501)), "variants: has 501 variants; the limit is 500"),
        (
            "".join(f"  v{i}: {{workload.model.depth: 10000}}\n" for i in range(400)),
            "21:3: variants.v5: 48 actors and 60000 layers up to here are too many for one file (the limits: 1000000 "
            "and 50000): choose one variant, or take some out",
        ),
        (
            "".join(f"  v{i}: {{scheme.workers: 400000}}\n" for i in range(400)),
            "18:3: variants.v2: 1200000 actors and 12 layers up to here are too many for one file (the limits: 1000000 "
            "and 50000): choose one variant, or take some out",
        ),
        ("  ? " + "x" * 180 + "\n  : {}\n", "printable characters, the variant's included"),
        ("  ? '" + "x" * 201 + "'\n  : {}\n", "a variant's name has 1 to 200 printable characters"),
        ('  "\\e[31m": {}\n', "a variant's name has 1 to 200 printable characters"),
    ],
)
def test_variants_have_limits(tmp_path: Path, variants: str, expected: str) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(EXAMPLE + "variants:\n" + variants)

    def refused() -> None:
        with pytest.raises(ScenarioError) as error:
            load_all(path)
        assert str(error.value).endswith(expected)

    assert calls_of(refused) < SECOND


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "variants:\n" + "".join(f"  v{i}: {{run.seed: {i}}}\n" for i in range(500)),
        lambda text: text.replace("speeds: {}", "speeds: {" + ", ".join(f"{i}: 0.5" for i in range(1900)) + "}"),
        lambda text: text.replace("{kind: mlp}", "{kind: layers, layers: [" + "{parameters: 1}, " * 1600 + "]}"),
        lambda text: text.replace("workers: 1900", "workers: 1000000"),
    ],
    ids=["variants", "speeds", "layers", "actors"],
)
def test_the_largest_files_are_read_in_a_second(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / "large.yaml"
    lines = EXAMPLE.replace("{kind: mlp, width: 1024, depth: 4}", "{kind: mlp}").splitlines(keepends=True)
    lines[4], lines[10], lines[11] = "", "  speeds: {}\n", "scheme: {kind: allreduce, workers: 1900}\n"
    load_all(_written(path, "".join(lines)))
    _written(path, change("".join(lines)))
    assert calls_of(lambda: load_all(path)) < SECOND


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
