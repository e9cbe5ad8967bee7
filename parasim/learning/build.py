"""Makes learners and optimisers from kinds and plain options; torch is imported only when a learner is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parasim.errors import ScenarioError
from parasim.learning.optimizers import OPTIMIZERS, Scheduled
from parasim.program.learner import Optimizer
from parasim.program.model import Tied
from parasim.workload.choice import choose
from parasim.workload.models import build_model, build_network

if TYPE_CHECKING:
    from parasim.learning.learner import TorchLearner

__all__ = ["LEARNING_DTYPES", "make_learner", "make_optimizer", "pin_threads"]

LEARNING_DTYPES = {"float32": 4, "float64": 8}
"""Types that can be trained in, and their bytes per element."""


def make_learner(
    model_kind: str,
    model_options: Mapping[str, Any],
    data_kind: str,
    data_options: Mapping[str, Any],
    seed: int,
    dtype: str,
    device: str = "cpu",
    tied: Tied = "",
) -> TorchLearner:
    """Make a learner; its `model` equals that of `parasim.workload.build_model` for the same options and data.

    Parameters
    ----------
    model_kind, model_options
        A kind of `parasim.workload.MODELS` that has a network, and its options.
    data_kind, data_options
        A kind of `parasim.workload.DATA`, and its options.
    seed
        Of initial weights and of the order of samples.
    dtype
        "float32" or "float64".
    device
        Where values live: "cpu" or a GPU ("cuda:1"). Initial weights, data and draws are the same on all.
    tied
        How weights that two layers share are trained (`parasim.program.Scheme.tied`).

    Raises
    ------
    ScenarioError
        If a kind, an option or the type is unknown, or model and data do not fit each other.
    """
    from parasim.learning.data import load_data
    from parasim.learning.learner import TorchLearner
    from parasim.learning.tensors import DTYPES

    if dtype not in LEARNING_DTYPES:
        raise ScenarioError(f"can't train in {dtype!r}; use one of {', '.join(LEARNING_DTYPES)}")
    data = load_data(data_kind, data_options, DTYPES[dtype])
    model = build_model(model_kind, model_options, data.spec, LEARNING_DTYPES[dtype])
    if tied == "copies" and model.untie is not None:
        model = model.untie()
    return TorchLearner(build_network(model_kind, model_options, data.spec, tied), model, data, seed, dtype, device)


def make_optimizer(kind: str, options: Mapping[str, Any]) -> Optimizer:
    """Make an optimiser of `parasim.learning.optimizers.OPTIMIZERS`; a `Rate` among the options schedules its rate.

    Raises
    ------
    ScenarioError
        If the kind or an option is unknown or out of range.
    """
    plain = {name: value for name, value in options.items() if name != "schedule"}
    optimizer: Optimizer = choose("optimizer", OPTIMIZERS, kind, plain)
    return Scheduled(optimizer, options["schedule"]) if "schedule" in options else optimizer


def pin_threads() -> None:
    """Let torch compute on one thread in this process.

    Sums are split among threads, so their number changes the last bits of results. Runtimes call this before the first
    value is computed; simulated and real runs then agree bit for bit. Ranks of a real run also stay off each other's
    cores.
    """
    import torch

    torch.set_num_threads(1)
