"""BMUF: blockwise model-update filtering (Chen and Huo 2016; SCHEMES S7).

As local SGD, but the mean of the models after a block of `period` steps is not taken as it is: its change G since the
start of the block is filtered by a block momentum, ``D = eta D + zeta G`` and ``W = W + D``. The next block starts at W
(classical block momentum, CBM) or at ``W + eta D`` (Nesterov's, NBM). The run ends with a block, and with W.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Event,
    HeldModel,
    Log,
    Model,
    NoClosedForm,
    Program,
    Scheme,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    option,
)
from parasim.program.elementwise import overwrite
from parasim.schemes.averaging import AveragingOptions, averaging_form, handle_momentum
from parasim.schemes.summing import agree, average, check_rows

__all__ = ["Bmuf"]


@dataclass(frozen=True, kw_only=True)
class BmufOptions(AveragingOptions):
    """Options of BMUF."""

    period: int = option(16, "local steps of a block", ge=1)
    block_momentum: float = option(-1.0, "eta, the block momentum (-1: 1 - 1/N)", ge=-1, lt=1)
    block_rate: float = option(1.0, "zeta, the block learning rate", gt=0)
    block: Literal["classical", "nesterov"] = option("nesterov", "where a block starts: at W (CBM), or ahead (NBM)")
    momentum: Literal["keep", "reset", "average"] = option(
        "reset", "the optimiser's state at a block's end: kept, set to zero, or averaged too"
    )


class Bmuf(Scheme):
    """Data parallel, synchronous every block, decentralised; momentum on the averaged update."""

    name = "bmuf"
    aliases = ("block_momentum", "cbm", "nbm")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"cbm": {"block": "classical"}}
    citation = "Chen, Huo (2016)"
    taxonomy = Taxonomy(
        "data parallel", "synchronous every period", "decentralised", "all-reduce of models", "model averaging"
    )
    staleness = "0 with respect to the worker's own model; models drift apart for `period` steps"
    approximates = "averaged models, whose change is filtered"
    Options = BmufOptions
    compresses = "models"
    prices_codes = True

    @property
    def eta(self) -> float:
        """The block momentum."""
        given = self.options.block_momentum
        return 1 - 1 / self.options.workers if given < 0 else float(given)

    def worker(self, me: Context) -> Program[Buffer]:
        """Blocks of local steps; their mean, filtered."""
        replica, gradient = me.replica(), me.buffer("gradient")
        model, delta = me.initial("model"), me.buffer("delta")
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            yield from me.update(replica, gradient, read=replica.version)
            if (step + 1) % self.options.period == 0 or step + 1 == me.num_steps:
                yield from average(me, replica.parameters, self.options, step)
                yield from me.math(block_filter, (replica.parameters, model, delta), **self._constants())
                yield from agree(me, replica.parameters)
                yield from handle_momentum(me, replica, self.options, step)
                yield from Log(Event("note", "averaged", step=step))
            yield from me.step_done(step)
        return model

    def _constants(self) -> dict[str, Any]:
        ahead = self.eta if self.options.block == "nesterov" else 0.0
        return {"eta": self.eta, "zeta": self.options.block_rate, "ahead": ahead}

    def held_model(self) -> HeldModel:
        """The filtered model, as the last block left it."""
        return HeldModel(copy="model")

    def check(self, model: Model, batch_size: int) -> None:
        """A block momentum of 0 or more (or the default), and what the all-reduce needs."""
        if -1 < self.options.block_momentum < 0:
            raise ValueError(f"block_momentum {self.options.block_momentum}: give 0 or more, or -1 for 1 - 1/N")
        check_rows(self.options)

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """As local SGD, ``T_c + T_update + C(P) / period``, and the filter (SCHEMES S7.5)."""
        filtering = setting.place.seconds(setting.math_kernel(block_filter, 3, **self._constants()))
        if setting.compression is not None and not setting.compression.compressor.for_values:
            filtering += setting.place.seconds(setting.math_kernel(overwrite, 2))  # what all agree on
        return averaging_form(self.options, setting, filtering)


def block_filter(
    xp: Tensors, mean: Tensor, model: Tensor, delta: Tensor, eta: float, zeta: float, ahead: float
) -> None:
    """``G = mean - start`` with ``start = model + ahead delta``; ``delta = eta delta + zeta G``; ``model += delta``.

    `mean` becomes the start of the next block, ``model + ahead delta``.
    """
    xp.add_(mean, model, -1.0)
    if ahead:
        xp.add_(mean, delta, -ahead)
    xp.scale_(delta, eta)
    xp.add_(delta, mean, zeta)
    xp.add_(model, delta)
    xp.copy_(mean, model)
    if ahead:
        xp.add_(mean, delta, ahead)
