"""Devices as their makers' data sheets describe them: peak rates that no program reaches, to begin with.

Every number is the one printed in the document named beside it (1 GB = 10^9 bytes there, unless it says GiB). Peaks are
those of matrix products without sparsity: of tensor cores or matrix units where the device has them for the type, of
the vector units elsewhere. `tensor_float32` is float32 rounded to 10 bits of mantissa on tensor cores: another
arithmetic, so it is used only where it is asked for. GPU peaks are at the boost clock, CPU peaks at the base clock
(cores x clock x FLOP per cycle; under wide vector instructions some run slower than that). Types without an entry have
no published peak. Nothing here is calibrated.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from parasim.cluster.hosts import Device
from parasim.errors import ScenarioError

__all__ = ["SHEETS", "TENSOR_FLOAT32", "Sheet", "find_sheet"]

TENSOR_FLOAT32 = "tensor_float32"
_MAX_SHOWN = 40
_MAKERS = ("nvidia", "tesla", "google", "cloud", "intel", "amd")


@dataclass(frozen=True, slots=True)
class Sheet:
    """One device of a data sheet.

    Attributes
    ----------
    name, aliases
        What files call it; case, spaces, hyphens and the maker's name do not matter.
    unit
        What one such device is.
    peaks
        FLOP/s by type of number: float64, float32, tensor_float32, float16, bfloat16.
    memory
        Bytes. Of CPUs: the most that can be installed.
    memory_bandwidth
        Bytes/s.
    interconnect
        What leaves the device, with its bandwidth per direction.
    source
        The document.
    """

    name: str
    unit: str
    peaks: Mapping[str, float]
    memory: float
    memory_bandwidth: float
    interconnect: str
    source: str
    aliases: tuple[str, ...] = ()

    def peak(self, dtype: str, tensor_float32: bool = False) -> float:
        """The peak for a type of number, in FLOP/s.

        Parameters
        ----------
        dtype
            "float64", "float32", "float16" or "bfloat16".
        tensor_float32
            Compute float32 in tensor-float32.

        Raises
        ------
        ScenarioError
            If the sheet has no peak for it, or `tensor_float32` is asked for another type.
        """
        if tensor_float32 and dtype != "float32":
            raise ScenarioError(f"tensor_float32 is a way to compute in float32, the dtype is {dtype}: leave it out")
        wanted = TENSOR_FLOAT32 if tensor_float32 else dtype
        if wanted in self.peaks:
            return self.peaks[wanted]
        has = ", ".join(self.peaks)
        if tensor_float32:
            raise ScenarioError(f"{self.name} has no peak for tensor_float32 (it has: {has}): leave tensor_float32 out")
        usable = "float32" if "float32" in self.peaks else next(iter(self.peaks))
        remedy = f"write workload: {{dtype: {usable}}}, or give flops beside the sheet"
        raise ScenarioError(f"the data sheet of {self.name} has no peak for {dtype} (it has: {has}): {remedy}")

    def device(self, dtype: str = "float32", tensor_float32: bool = False) -> Device:
        """The device, computing in one type of number; raises as :meth:`peak` does."""
        return Device(
            self.name,
            self.peak(dtype, tensor_float32),
            self.memory,
            self.memory_bandwidth,
            dtype=dtype,
            source=self.source,
        )


def find_sheet(name: str) -> Sheet:
    """The sheet of that name or alias.

    Raises
    ------
    ScenarioError
        If there is none; the message names close ones, or all there are.
    """
    sheet = _BY_WORD.get(_word(name))
    if sheet is not None:
        return sheet
    close = difflib.get_close_matches(_word(name), _BY_WORD, n=1, cutoff=0.7)
    hint = f"did you mean '{_BY_WORD[close[0]].name}'?" if close else f"there are: {', '.join(SHEETS)}"
    shown = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}..."
    raise ScenarioError(f"no data sheet '{shown}' ({hint}), or give numbers: {{flops: 50 GFLOP/s, ...}}")


def _word(name: str) -> str:
    """A name without what does not matter."""
    words = name.casefold().replace("(r)", " ").replace("-", " ").replace("_", " ").split()
    return "".join(word for word in words if word not in _MAKERS)


def _gpu(
    name: str,
    peaks: Mapping[str, float],
    memory: float,
    bandwidth: float,
    interconnect: str,
    source: str,
    *aliases: str,
    unit: str = "GPU",
) -> Sheet:
    """Peaks in TFLOP/s, memory in GB, bandwidth in GB/s."""
    rates = MappingProxyType({dtype: rate * 1e12 for dtype, rate in peaks.items()})
    return Sheet(name, unit, rates, memory * 1e9, bandwidth * 1e9, interconnect, source, aliases)


def _cpu(
    name: str, cores: int, clock: float, per_cycle: int, memory: float, bandwidth: float, link: str, source: str
) -> tuple[Sheet, Sheet]:
    """A socket and one core of it: clock in GHz, float64 FLOP per cycle and core, memory in TB, bandwidth in GB/s."""
    core = clock * 1e9 * per_cycle
    peaks = {"float64": core, "float32": 2 * core}
    socket = MappingProxyType({dtype: cores * rate for dtype, rate in peaks.items()})
    most, rate = memory * 1e12, bandwidth * 1e9
    return (
        Sheet(name, f"socket of {cores} cores", socket, most, rate, link, source),
        Sheet(
            f"{name} core",
            f"core with 1/{cores} of its socket's memory and bandwidth",
            MappingProxyType(peaks),
            most / cores,
            rate / cores,
            link,
            source,
        ),
    )


_PASCAL = "NVIDIA Tesla P100 data sheet (2016)"
_VOLTA = "NVIDIA Tesla V100 data sheet (2018)"
_AMPERE = "NVIDIA A100 data sheet (2021)"
_HOPPER = "NVIDIA H100 architecture white paper (2022)"
_TPU = "Jouppi et al., A domain-specific supercomputer for training deep neural networks, CACM 63(7) (2020)"
_PCIE3, _PCIE5 = "PCIe 3.0 x16, 16 GB/s", "PCIe 5.0 x16, 64 GB/s"
_TPU_UNIT = "chip of 2 cores"
_H100 = {"float64": 66.9, "float32": 66.9, TENSOR_FLOAT32: 494.7, "float16": 989.4, "bfloat16": 989.4}
_A100 = {"float64": 19.5, "float32": 19.5, TENSOR_FLOAT32: 156.0, "float16": 312.0, "bfloat16": 312.0}

_ALL = (
    _gpu(
        "K80", {"float64": 1.455, "float32": 4.365}, 12, 240, f"{_PCIE3}, shared by the board's two GPUs",
        "NVIDIA Tesla K80 data sheet (2014), halved", "GK210", unit="GPU (GK210), one of the board's two",
    ),
    _gpu(
        "P100-SXM2", {"float64": 5.3, "float32": 10.6, "float16": 21.2}, 16, 732, "NVLink 1 (4 links), 80 GB/s",
        _PASCAL, "P100",
    ),
    _gpu("P100-PCIe", {"float64": 4.7, "float32": 9.3, "float16": 18.7}, 16, 732, _PCIE3, _PASCAL),
    _gpu(
        "V100-SXM2", {"float64": 7.8, "float32": 15.7, "float16": 125.0}, 16, 900, "NVLink 2 (6 links), 150 GB/s",
        _VOLTA, "V100",
    ),
    _gpu("V100-PCIe", {"float64": 7.0, "float32": 14.0, "float16": 112.0}, 16, 900, _PCIE3, _VOLTA),
    _gpu(
        "A100-40GB", _A100, 40, 1555, "NVLink 3 (12 links), 300 GB/s",
        "NVIDIA A100 architecture white paper (2020)", "A100", "A100-SXM4", "A100-SXM", "A100-SXM4-40GB",
        "A100-SXM-40GB",
    ),
    _gpu(
        "A100-80GB", _A100, 80, 2039, "NVLink 3 (12 links), 300 GB/s", _AMPERE, "A100-SXM4-80GB", "A100-SXM-80GB"
    ),
    _gpu("H100-SXM5", _H100, 80, 3352, "NVLink 4 (18 links), 450 GB/s", _HOPPER, "H100", "H100-SXM"),
    _gpu(
        "H100-PCIe",
        {"float64": 51.2, "float32": 51.2, TENSOR_FLOAT32: 378.0, "float16": 756.0, "bfloat16": 756.0},
        80, 2039, _PCIE5, _HOPPER,
    ),
    _gpu(
        "H200", _H100, 141, 4800, "NVLink 4 (18 links), 450 GB/s",
        "NVIDIA H200 data sheet (2023), compute as of the H100-SXM5", "H200-SXM", "H200-SXM5",
    ),
    _gpu(
        "TPU-v2", {"bfloat16": 46.0}, 16, 700, "inter-core interconnect (4 links), 62 GB/s each", _TPU, "TPU2",
        unit=_TPU_UNIT,
    ),
    _gpu(
        "TPU-v3", {"bfloat16": 123.0}, 32, 900, "inter-core interconnect (4 links), 82 GB/s each", _TPU, "TPU3",
        unit=_TPU_UNIT,
    ),
    *_cpu(
        "Xeon E5-2690 v4", 14, 2.6, 16, 1.54, 76.8, "PCIe 3.0 (40 lanes), 39 GB/s",
        "Intel product specifications (2016); AVX2, 2 FMA units",
    ),
    *_cpu(
        "Xeon Platinum 8280", 28, 2.7, 32, 1.0, 140.8, "PCIe 3.0 (48 lanes), 47 GB/s",
        "Intel product specifications (2019); AVX-512, 2 FMA units",
    ),
    *_cpu(
        "EPYC 7742", 64, 2.25, 16, 4.0, 204.8, "PCIe 4.0 (128 lanes), 252 GB/s",
        "AMD product specifications (2019); AVX2, 2 FMA units",
    ),
    *_cpu(
        "EPYC 9654", 96, 2.4, 16, 6.0, 460.8, "PCIe 5.0 (128 lanes), 504 GB/s",
        "AMD product specifications (2022); AVX-512 in two halves, 2 FMA units",
    ),
)  # fmt: skip

SHEETS: Mapping[str, Sheet] = MappingProxyType({sheet.name: sheet for sheet in _ALL})
"""All data sheets, by name."""

_BY_WORD = {_word(word): sheet for sheet in _ALL for word in (sheet.name, *sheet.aliases)}
