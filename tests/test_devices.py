"""Data sheets: numbers that follow from cores and clocks, names, what files may say, kernel times, marks in tables."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from parasim import Scenario, simulate
from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.sheets import SHEETS, find_sheet
from parasim.errors import ScenarioError
from parasim.program.ops import Kernel
from parasim.report.devices import devices_markdown
from parasim.report.output import results_text
from parasim.scenario import from_document
from parasim.scenario.schema import schema
from parasim.simulation.devices import kernel_seconds
from parasim.study.build import device_facts
from tests.test_scenario_schema import accepts

NUMBERS = {"flops": "50 GFLOP/s", "memory": "16 GiB", "memory_bandwidth": "20 GB/s"}


def scenario(device: Any, dtype: str = "float32", cluster: dict[str, Any] | None = None) -> Scenario:
    """Two workers that all-reduce 1000 parameters; a sample is 1 MFLOP forward, 2 MFLOP backward."""
    layer = {"parameters": 1000, "forward_flops": 1e6}
    model = {"kind": "layers", "layers": [layer], "needs_input_gradient": True}
    return from_document(
        {
            "name": "small",
            "workload": {"model": model, "batch_size": 1000, "dtype": dtype},
            "cluster": {
                "topology": {"kind": "star", "hosts": 2},
                "device": device,
                "link": {"bandwidth": "10 Gbit/s"},
                **(cluster or {}),
            },
            "scheme": {"kind": "allreduce"},
            "run": {"steps": 2},
        }
    )


def error(device: Any, dtype: str = "float32") -> str:
    with pytest.raises(ScenarioError) as caught:
        scenario(device, dtype)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix("document: ")


# the sheets ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "dtype", "units", "flop_per_cycle", "clock"),
    [
        ("K80", "float32", 2496, 2, 0.875e9),
        ("K80", "float64", 832, 2, 0.875e9),
        ("P100-SXM2", "float32", 3584, 2, 1.480e9),
        ("P100-SXM2", "float16", 3584, 4, 1.480e9),
        ("P100-PCIe", "float32", 3584, 2, 1.303e9),
        ("V100-SXM2", "float64", 2560, 2, 1.530e9),
        ("V100-SXM2", "float32", 5120, 2, 1.530e9),
        ("V100-SXM2", "float16", 640, 128, 1.530e9),
        ("V100-PCIe", "float32", 5120, 2, 1.380e9),
        ("V100-PCIe", "float16", 640, 128, 1.380e9),
        ("A100-40GB", "float32", 6912, 2, 1.410e9),
        ("A100-40GB", "tensor_float32", 432, 256, 1.410e9),
        ("A100-40GB", "bfloat16", 432, 512, 1.410e9),
        ("A100-80GB", "float64", 432, 32, 1.410e9),
        ("H100-SXM5", "float32", 16896, 2, 1.980e9),
        ("H100-SXM5", "bfloat16", 528, 1024, 1.830e9),
        ("H100-PCIe", "float32", 14592, 2, 1.755e9),
        ("H100-PCIe", "float16", 456, 1024, 1.620e9),
        ("H200", "tensor_float32", 528, 512, 1.830e9),
        ("TPU-v2", "bfloat16", 2 * 128 * 128, 2, 0.700e9),
        ("TPU-v3", "bfloat16", 4 * 128 * 128, 2, 0.940e9),
        ("Xeon E5-2690 v4", "float64", 14, 16, 2.6e9),
        ("Xeon Platinum 8280", "float32", 28, 64, 2.7e9),
        ("EPYC 7742", "float64", 64, 16, 2.25e9),
        ("EPYC 9654", "float32", 96, 32, 2.4e9),
    ],
)
def test_peaks_follow_from_units_and_clocks(
    name: str, dtype: str, units: int, flop_per_cycle: int, clock: float
) -> None:
    """Printed peaks are rounded to three digits, those of the V100 PCIe to 1 %."""
    assert SHEETS[name].peaks[dtype] == pytest.approx(units * flop_per_cycle * clock, rel=0.01)


@pytest.mark.parametrize(
    ("name", "bits", "transfers"),
    [
        ("K80", 384, 5.0e9),
        ("P100-SXM2", 4096, 1.43e9),
        ("V100-SXM2", 4096, 1.752e9),
        ("A100-40GB", 5120, 2.43e9),
        ("A100-80GB", 5120, 3.186e9),
        ("H100-SXM5", 5120, 5.24e9),
        ("Xeon E5-2690 v4", 4 * 64, 2.4e9),
        ("Xeon Platinum 8280", 6 * 64, 2.933e9),
        ("EPYC 7742", 8 * 64, 3.2e9),
        ("EPYC 9654", 12 * 64, 4.8e9),
    ],
)
def test_memory_bandwidths_follow_from_width_and_rate(name: str, bits: int, transfers: float) -> None:
    assert SHEETS[name].memory_bandwidth == pytest.approx(bits / 8 * transfers, rel=0.005)


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_every_sheet_is_whole_and_uncalibrated(sheet) -> None:
    order = [sheet.peaks[t] for t in ("float64", "float32", "tensor_float32", "float16") if t in sheet.peaks]
    assert order == sorted(order)
    assert set(sheet.peaks) <= {"float64", "float32", "tensor_float32", "float16", "bfloat16"}
    assert re.search(r"\((19|20)\d\d\)", sheet.source)
    assert re.search(r"\d GB/s", sheet.interconnect)
    dtype = "float32" if "float32" in sheet.peaks else "bfloat16"
    device = sheet.device(dtype)
    assert not device.calibrated
    assert (device.name, device.dtype, device.source) == (sheet.name, dtype, sheet.source)
    assert (device.flops, device.memory, device.launch, device.efficiency) == (sheet.peaks[dtype], sheet.memory, 0, 1)
    for word in (sheet.name, *sheet.aliases):
        assert find_sheet(word) is sheet
        assert find_sheet(word.upper().replace("-", " ")) is sheet
        assert find_sheet(word.lower().replace("-", "_").replace(" ", "-")) is sheet


def test_a_core_is_a_share_of_its_socket() -> None:
    socket, core = SHEETS["EPYC 7742"], SHEETS["EPYC 7742 core"]
    assert core.peaks["float64"] == 36e9
    assert socket.peaks["float64"] == pytest.approx(64 * 36e9)
    assert 64 * core.memory_bandwidth == pytest.approx(socket.memory_bandwidth)
    assert 64 * core.memory == pytest.approx(socket.memory)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("V100", "V100-SXM2"),
        ("nvidia tesla p100", "P100-SXM2"),
        ("Tesla V100-PCIE", "V100-PCIe"),
        ("a100", "A100-40GB"),
        ("Google Cloud TPU v3", "TPU-v3"),
        ("Intel(R) Xeon Platinum 8280", "Xeon Platinum 8280"),
        ("AMD EPYC 9654 core", "EPYC 9654 core"),
    ],
)
def test_common_names_are_understood(said: str, name: str) -> None:
    assert find_sheet(said).name == name


# what files may say --------------------------------------------------------------------------------------------------
def test_a_name_takes_the_peak_of_the_workloads_type() -> None:
    peaks = {dtype: scenario("V100", dtype).cluster.device.flops for dtype in ("float64", "float32", "float16")}
    assert peaks == {"float64": 7.8e12, "float32": 15.7e12, "float16": 125e12}
    assert scenario("A100", "bfloat16").cluster.device == SHEETS["A100-40GB"].device("bfloat16")


def test_tensor_float32_is_used_where_it_is_asked_for() -> None:
    assert scenario("A100").cluster.device.flops == 19.5e12
    assert scenario({"sheet": "A100", "tensor_float32": True}).cluster.device.flops == 156e12
    assert scenario({"sheet": "A100", "tensor_float32": False}).cluster.device.flops == 19.5e12


def test_numbers_beside_a_sheet_replace_its_own() -> None:
    device = scenario(
        {"sheet": "K80", "flops": "3 TFLOP/s", "memory": "11 GB", "efficiency": 0.5, "launch": "5 us", "name": "ours"},
        "float16",
    ).cluster.device
    source = SHEETS["K80"].source
    assert device == Device("ours", 3e12, 11e9, 240e9, 5e-6, 0.5, "float16", source)


def test_plain_numbers_are_of_no_sheet() -> None:
    device = scenario({**NUMBERS, "efficiency": 0.25}, "float64").cluster.device
    assert (device.flops, device.efficiency, device.dtype, device.source) == (50e9, 0.25, "float64", "")


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("V10", "float32", "cluster.device: no data sheet 'V10' (did you mean 'V100-SXM2'?), or give numbers: "),
        ("abacus", "float32", "cluster.device: no data sheet 'abacus' (there are: K80, P100-SXM2, "),
        ({"sheet": "V10"}, "float32", "cluster.device.sheet: no data sheet 'V10' (did you mean 'V100-SXM2'?)"),
        (
            "K80",
            "bfloat16",
            "cluster.device: the data sheet of K80 has no peak for bfloat16 (it has: float64, float32): "
            "write workload: {dtype: float32}, or give flops beside the sheet",
        ),
        (
            {"sheet": "TPU v3"},
            "float32",
            "cluster.device.sheet: the data sheet of TPU-v3 has no peak for float32 (it has: bfloat16): "
            "write workload: {dtype: bfloat16}, or give flops beside the sheet",
        ),
        (
            {"sheet": "V100", "tensor_float32": True},
            "float32",
            "cluster.device.tensor_float32: V100-SXM2 has no peak for tensor_float32 (it has: float64, float32, "
            "float16): leave tensor_float32 out",
        ),
        (
            {"sheet": "A100", "tensor_float32": True},
            "float16",
            "cluster.device.tensor_float32: tensor_float32 is a way to compute in float32, the dtype is float16: ",
        ),
        (
            {"sheet": "A100", "tensor_float32": True, "flops": "1 TFLOP/s"},
            "float32",
            "cluster.device.tensor_float32: chooses the sheet's peak, but flops is given too: keep one",
        ),
        (
            {**NUMBERS, "tensor_float32": True},
            "float32",
            "cluster.device.tensor_float32: is a choice among the peaks of a data sheet: give sheet: A100 beside it, ",
        ),
        ({"sheet": 100}, "float32", "cluster.device.sheet: 100 must be text: put it in quotes"),
        (
            {"sheet": "V100", "efficency": 1},
            "float32",
            "cluster.device.efficency: unknown key (did you mean 'efficiency'?)",
        ),
        ({"shet": "V100"}, "float32", "cluster.device.shet: unknown key (did you mean 'sheet'?)"),
        ({"sheet": "V100", "efficiency": 0}, "float32", "cluster.device.efficiency: 0 must be greater than 0"),
        ({"sheet": "V100", "efficiency": 1.01}, "float32", "cluster.device.efficiency: 1.01 must be at most 1"),
        ({}, "float32", "cluster.device.flops: is missing (arithmetic speed): write flops: 50 GFLOP/s"),
        (100, "float32", "cluster.device: is 100, no device: write device: {flops: 50 GFLOP/s, "),
        (None, "float32", "cluster.device: is empty: write device: {flops: 50 GFLOP/s, "),
    ],
)
def test_errors_name_the_key_and_the_remedy(device: Any, dtype: str, message: str) -> None:
    assert error(device, dtype).startswith(message)


def test_the_schema_takes_what_the_loader_takes() -> None:
    rule = schema()["properties"]["cluster"]["properties"]["device"]
    assert rule["examples"] == rule["properties"]["sheet"]["examples"] == list(SHEETS)
    for good in ("V100", {"sheet": "V100"}, {"sheet": "A100", "tensor_float32": True, "launch": "5 us"}, NUMBERS):
        assert accepts(rule, good), good
    for bad in (100, {}, {"flops": "1 GFLOP/s"}, {"sheet": "V100", "efficiency": 2}, {"sheet": "V100", "colour": 1}):
        assert not accepts(rule, bad), bad


# time ----------------------------------------------------------------------------------------------------------------
def test_kernel_times_by_hand() -> None:
    v100 = SHEETS["V100-SXM2"].device("float16")
    assert kernel_seconds(v100, Kernel("product", flops=125e12, nbytes=1e9)) == 1.0
    assert kernel_seconds(v100, Kernel("copy", flops=1e9, nbytes=1800e9)) == 2.0
    half = Device("half", 125e12, 16e9, 900e9, launch=0.25, efficiency=0.5)
    assert kernel_seconds(half, Kernel("product", flops=125e12)) == 2.25
    assert kernel_seconds(half, Kernel("copy", nbytes=900e9)) == 2.25


@pytest.mark.parametrize(
    ("device", "dtype", "peak"),
    [
        ("V100", "float32", 15.7e12),
        ("V100", "float16", 125e12),
        ({"sheet": "V100", "efficiency": 0.5}, "float16", 62.5e12),
        ({"sheet": "H100", "tensor_float32": True}, "float32", 494.7e12),
        ("TPU v2", "bfloat16", 46e12),
        ("EPYC 7742 core", "float64", 36e9),
    ],
)
def test_simulated_passes_take_flop_over_peak(device: Any, dtype: str, peak: float) -> None:
    """1000 samples of 1 MFLOP forward and 2 MFLOP backward, which no memory slows down here."""
    device = {"sheet": device} if isinstance(device, str) else device
    trace = simulate(scenario({**device, "memory_bandwidth": "1 EB/s"}, dtype)).trace
    for label, flops in (("forward", 1e9), ("backward", 2e9)):
        taken = [row.t_end - row.t_start for row in trace if row.label == label]
        assert len(taken) == 4
        assert taken == pytest.approx([flops / peak] * 4, rel=1e-6)


# marks ---------------------------------------------------------------------------------------------------------------
def test_tables_and_summaries_name_the_sheets() -> None:
    runs = [(case, simulate(case)) for case in (scenario("V100"), scenario(NUMBERS), scenario("A100", "bfloat16"))]
    assert [result.summary["data_sheets"] for _, result in runs] == [
        ["V100-SXM2 in float32: NVIDIA Tesla V100 data sheet (2018)"],
        [],
        ["A100-40GB in bfloat16: NVIDIA A100 architecture white paper (2020)"],
    ]
    assert not any(result.summary["calibrated"] for _, result in runs)
    assert results_text(runs).splitlines()[-4:] == [
        "UNCALIBRATED (1 of 3 rows): the device is described by plain numbers, not by measurements of a machine.",
        "UNCALIBRATED (2 of 3 rows): the device is described by data sheet values, not by measurements of a machine:",
        "  V100-SXM2 in float32: NVIDIA Tesla V100 data sheet (2018)",
        "  A100-40GB in bfloat16: NVIDIA A100 architecture white paper (2020)",
    ]


def test_only_devices_that_somebody_computes_on_count() -> None:
    measured = Device("measured", 1e9, calibrated=True)
    hosts = Cluster([Host("a", 1, measured), Host("b", 1, SHEETS["K80"].device()), Host("c", 1, measured)], {})
    assert device_facts(hosts, (0, 2, 0)) == {
        "calibrated": True,
        "data_sheets": (),
        "device_memory_bytes": (math.inf,) * 3,
    }
    assert device_facts(hosts, (2, 1, 1)) == {
        "calibrated": False,
        "data_sheets": (f"K80 in float32: {SHEETS['K80'].source}",),
        "device_memory_bytes": (math.inf, 12e9, 12e9),
    }


def test_every_actor_is_held_against_its_own_device() -> None:
    """A worker holds 4 kB of weights, as much of a gradient, and what 1000 samples leave."""
    small = {"hosts": {1: {"device": {**NUMBERS, "memory": "11 kB"}}}}
    fits, exceeds = scenario({**NUMBERS, "memory": "12 kB"}), scenario({**NUMBERS, "memory": "1 GB"}, cluster=small)
    assert simulate(fits).summary["does_not_fit"] is None
    summary = simulate(exceeds).summary
    assert summary["does_not_fit"] == {"actor": "worker 1", "held_bytes": 12000, "device_bytes": 11000}
    assert summary["device_memory_bytes"] == 11000


def test_the_table_of_sheets_shows_every_one() -> None:
    header, rule, *rows = devices_markdown().splitlines()
    assert len(rows) == len(SHEETS)
    assert all(row.count("|") == header.count("|") == rule.count("|") for row in rows)
    (v100,) = [row for row in rows if row.startswith("| `V100-SXM2`")]
    assert "| 7.8 | 15.7 | - | 125 | - | 16 GB | 900 GB/s | NVLink 2 (6 links), 150 GB/s |" in v100
