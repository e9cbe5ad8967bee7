"""Published results beside predictions: rows of the literature as data, and the scenarios that predict them.

Each file of scenarios/published says what its machine is calibrated on: the smallest configuration of its row alone. A
row marked (m) is known from the paper but was not confirmed from a text (SCHEMES 0.1).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from parasim.errors import ScenarioError, ScenarioWarning

__all__ = ["PUBLISHED", "Claim", "scoreboard"]

Summaries = Mapping[str, Mapping[str, Any]]
"""Of a file's runs, by variant."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One published number.

    Attributes
    ----------
    file, paper, what
        Scenario file; where the number is from, and what it is of.
    value, unit
        The number; "s", "bytes" or "" for a plain number.
    predicted
        From the summaries of the file's runs.
    calibrated
        Is it the number that the file is calibrated on?
    why
        What explains a miss.
    """

    file: str
    paper: str
    what: str
    value: float
    predicted: Callable[[Summaries], float]
    unit: str = ""
    calibrated: bool = False
    why: str = ""


def _rate(variant: str) -> Callable[[Summaries], float]:
    """Samples per second."""
    return lambda runs: float(runs[variant]["samples_per_second"])


def _speedup(variant: str, base: str, workers: int = 1) -> Callable[[Summaries], float]:
    """Samples per second over those of another variant, over so many workers."""
    return lambda runs: float(runs[variant]["samples_per_second"] / runs[base]["samples_per_second"] / workers)


def _bubble(variant: str, *, ideal: bool = False) -> Callable[[Summaries], float]:
    """What workers do not compute, of the time, or over what they compute."""

    def bubble(runs: Summaries) -> float:
        share = float(runs[variant]["shares"]["compute"])
        return (1 - share) / share if ideal else 1 - share

    return bubble


def _hours(variant: str, samples: float) -> Callable[[Summaries], float]:
    """Hours for so many samples."""
    return lambda runs: float(samples / runs[variant]["samples_per_second"] / 3600)


def _staleness(variant: str, figure: str) -> Callable[[Summaries], float]:
    return lambda runs: float(runs[variant]["staleness"][figure])


def _of(variant: str, figure: str) -> Callable[[Summaries], float]:
    return lambda runs: float(runs[variant][figure])


_GPIPE, _MEGATRON21 = "Huang et al. 2019, GPipe", "Narayanan et al. 2021"
_ONE_BIT, _DDG, _FR = "Seide et al. 2014, 1-bit SGD", "Huo et al. 2018, DDG", "Huo et al. 2018, FR"
_ZERO, _MEGATRON = "Rajbhandari et al. 2020, ZeRO (m)", "Shoeybi et al. 2019, Megatron-LM"
_HOROVOD, _SOFTSYNC = "Sergeev, Del Balso 2018, Horovod", "Zhang et al. 2016, softsync"
_AVERAGING, _CHEN = "Su, Chen 2015", "Chen et al. 2012 (m)"
_WEIRD, _SGP = "Krizhevsky 2014 (m)", "Assran et al. 2019, SGP (m)"
_EPOCHS = 90 * 1.2812e6

_UNEVEN = "modules are cut between blocks of the network, evenly by FLOP; transfers add up along the chain"
_SWITCHES = "GPUs of one server share PCI Express switches, which eight hosts behind one switch here do not"
_ROCE = "TCP and RoCE reach less than the line rate, and steps vary: both are left out"
_WIDER = "larger matrices reach more of the FLOP/s than those of the one GPU that it is calibrated on"

PUBLISHED: Final[tuple[Claim, ...]] = (
    Claim("bubbles", _GPIPE, "bubble, K = 4, M = 4: (K-1)/(M+K-1)", 3 / 7, _bubble("K=4 M=4")),
    Claim("bubbles", _GPIPE, "bubble, K = 4, M = 16", 3 / 19, _bubble("K=4 M=16")),
    Claim("bubbles", _GPIPE, "M = 1: throughput of K = 8 over K = 2", 1.0, _speedup("K=8 M=1", "K=2 M=1")),
    Claim(
        "bubbles", _MEGATRON21, "K = 4, M = 8, v = 2: bubble over ideal time", 3 / 16,
        _bubble("K=4 M=8 v=2", ideal=True),
    ),
    Claim(
        "bubbles", "Zhuang et al. 2021, FDG", "K = 3: longest delay, 2(K-1)", 4.0,
        _staleness("FDG, K=3", "max"),
    ),
    Claim("one_bit", _ONE_BIT, "1 GPU, 256 frames: a step", 59e-3, _of("1 GPU, 256", "seconds_per_step"), "s", True),
    Claim(
        "one_bit", _ONE_BIT, "8 GPUs, 2,880 frames: frames/s", 27e3, _rate("8 GPUs, 2880"),
        why="the fixed cost of a step is taken as the update's, paid by each half batch; part of it is the passes'",
    ),
    Claim(
        "one_bit", _ONE_BIT, "8 GPUs, 16,384 frames: frames/s", 51e3, _rate("8 GPUs, 16384"),
        why="a step takes 38 ms longer; exchange and quantisation, 3 to 10 ms a half batch, are taken as hidden here",
    ),
    Claim("decoupled", _DDG, "WRN-28-10, 2 modules: speed-up", 1.37, _speedup("DDG 2", "one device"), "", True),
    Claim("decoupled", _DDG, "3 modules", 1.57, _speedup("DDG 3", "one device"), why=_UNEVEN),
    Claim("decoupled", _DDG, "4 modules", 1.64, _speedup("DDG 4", "one device"), why=_UNEVEN),
    Claim(
        "decoupled", _FR, "2 modules", 1.05, _speedup("FR 2", "one device"),
        why="the last module does not replay here; theirs may, and the balance of two modules gains most from it",
    ),
    Claim("decoupled", _FR, "3 modules", 1.26, _speedup("FR 3", "one device"), why="as of two modules"),
    Claim("decoupled", _FR, "4 modules", 1.44, _speedup("FR 4", "one device"), why="as of two modules"),
    Claim(
        "zero", _ZERO, "7.5 billion parameters on 64: stage 1", 31.4e9, _of("stage 1", "memory_bytes_per_worker"),
        "bytes",
    ),
    Claim(
        "zero", _ZERO, "stage 2", 16.6e9, _of("stage 2", "memory_bytes_per_worker"), "bytes",
        why="a unit's gradient is whole until it is scattered: the paper's formula has no such buffers",
    ),
    Claim(
        "zero", _ZERO, "stage 3", 1.9e9, _of("stage 3", "memory_bytes_per_worker"), "bytes",
        why="the model is cut into 32 units, and the one at work is whole: the paper's formula has no such buffers",
    ),
    Claim(
        "zero", "Zhao et al. 2023, FSDP", "bytes of stage 3 over those of stage 2", 1.5,
        lambda runs: float(
            runs["stage 3"]["bytes_sent_per_worker_per_step"] / runs["stage 2"]["bytes_sent_per_worker_per_step"]
        ),
    ),
    Claim("megatron", _MEGATRON, "1 GPU", 1.288, _of("1 GPU, 1.2 billion", "seconds_per_step"), "s", True),
    Claim("megatron", _MEGATRON, "2 GPUs", 1.242, _of("2 GPUs, 2.5 billion", "seconds_per_step"), "s", why=_WIDER),
    Claim("megatron", _MEGATRON, "4 GPUs", 1.357, _of("4 GPUs, 4.2 billion", "seconds_per_step"), "s"),
    Claim("megatron", _MEGATRON, "8 GPUs", 1.508, _of("8 GPUs, 8.3 billion", "seconds_per_step"), "s"),
    *(
        Claim(
            "horovod", _HOROVOD, f"{model}: efficiency on 512", value, _speedup(f"{model}, 512", f"{model}, 1", 512),
            why=_ROCE,
        )
        for model, value in (("Inception-V3", 0.90), ("ResNet-101", 0.90), ("VGG-16", 0.68))
    ),
    *(
        Claim(
            "softsync", _SOFTSYNC, f"30 learners, n = {n}: mean staleness, about n", float(n),
            _staleness(f"n={n}", "mean"),
            why="it is (N-1)/c exactly, c = floor(N/n), less what is not stale yet at the start",
        )
        for n in (1, 15, 30)
    ),
    Claim("averaging", _AVERAGING, "16 GPUs: speed-up", 9.3, _speedup("16 GPUs", "1 GPU"), "", True),
    Claim(
        "averaging", _AVERAGING, "32 GPUs: speed-up", 17.0, _speedup("32 GPUs", "1 GPU"),
        why="workers that are not equally fast wait for the slowest, longer the more there are: left out",
    ),
    Claim("pipelined", _CHEN, "2 GPUs: speed-up", 1.9, _speedup("2 GPUs", "1 GPU")),
    Claim(
        "pipelined", _CHEN, "4 GPUs: speed-up", 3.1, _speedup("4 GPUs", "1 GPU"),
        why="the paper stripes the output layer, 41 % of all weights, over GPUs; stages here are whole layers",
    ),
    Claim("one_weird_trick", _WEIRD, "2 GPUs: speed-up", 1.95, _speedup("2 GPUs", "1 GPU"), "", True),
    Claim("one_weird_trick", _WEIRD, "4 GPUs: speed-up", 3.74, _speedup("4 GPUs", "1 GPU")),
    Claim("one_weird_trick", _WEIRD, "8 GPUs: speed-up", 6.25, _speedup("8 GPUs", "1 GPU"), why=_SWITCHES),
    Claim("sgp", _SGP, "SGP, 4 servers: hours", 11.8, _hours("SGP, 4 servers", _EPOCHS), "", True),
    Claim("sgp", _SGP, "SGP, 32 servers: hours", 1.5, _hours("SGP, 32 servers", _EPOCHS)),
    Claim("sgp", _SGP, "all-reduce, 4 servers: hours", 22.0, _hours("all-reduce, 4 servers", _EPOCHS), "", True),
    Claim(
        "sgp", _SGP, "all-reduce, 32 servers: hours", 5.1, _hours("all-reduce, 32 servers", _EPOCHS),
        why="what slows all-reduce down on 4 servers grows with their number (stragglers, incast); a bandwidth doesn't",
    ),
)  # fmt: skip
"""The rows of the scoreboard."""


def scoreboard(folder: str | Path, watch: Callable[[int, int, str], None] | None = None) -> list[dict[str, Any]]:
    """Simulate the scenarios of `PUBLISHED` and put predictions beside what was published.

    Parameters
    ----------
    folder
        Of the files: scenarios/published.
    watch
        Called before each file with the number done, the number of all, and its name.

    Returns
    -------
    list of dict
        Ready for JSON, a row per claim: `paper`, `what`, `unit`, `published`, `predicted`, `error` (signed, relative to
        the published one), `calibrated` (is it what the file is calibrated on?), `why` (it misses).

    Raises
    ------
    ScenarioError
        If a file is missing or wrong.
    """
    from parasim.scenario.load import load_all
    from parasim.study.simulate import simulate

    files = list(dict.fromkeys(claim.file for claim in PUBLISHED))
    runs: dict[str, Summaries] = {}
    for place, name in enumerate(files):
        if watch is not None:
            watch(place, len(files), name)
        path = Path(folder, f"{name}.yaml")
        if not path.is_file():
            raise ScenarioError(f"{path}: there is no such file: --published wants the folder scenarios/published")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScenarioWarning)
            runs[name] = {scenario.variant: simulate(scenario).summary for scenario in load_all(path)}
    rows = []
    for claim in PUBLISHED:
        predicted = claim.predicted(runs[claim.file])
        rows.append(
            {
                "file": claim.file,
                "paper": claim.paper,
                "what": claim.what,
                "unit": claim.unit,
                "published": claim.value,
                "predicted": predicted,
                "error": predicted / claim.value - 1,
                "calibrated": claim.calibrated,
                "why": claim.why,
            }
        )
    return rows
