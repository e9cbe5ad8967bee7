"""What is trained, as costs: layers, and parts of a model (contiguous layers).

Workloads (parasim/workload) build a `Model`; schemes ask it for parts; the context turns parts into kernels.
FLOP counts are per sample; a multiply-add is two.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from parasim.program.balance import balanced_cuts
from parasim.program.buffers import Buffer
from parasim.program.ops import Kernel
from parasim.program.shards import How, Shard, Split, Splitter

__all__ = ["Layer", "Model", "Part", "Tie", "Tied"]

Tied = Literal["", "whole", "copies"]
"""How parameters that two layers share are trained: not at all; where both are in one part; as two copies of them."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One block of a network.

    Attributes
    ----------
    parameters
        Number of parameter elements.
    forward_flops
        FLOP per sample of the forward pass.
    input_flops, weight_flops
        FLOP per sample of the backward pass, to inputs and to weights.
    input_elements, output_elements
        Elements per sample that enter and leave.
    stored_elements
        Elements per sample kept from forward to backward.
    kind
        The operator that most of its FLOP are of ("linear", "conv"); "layer": not known.
    signature
        Names what is computed, shapes included ("relu linear 256->256"); "": not known.
    shapes
        Shapes of its arrays of parameters, in the order of the flat vector; none: one vector of them all.
    """

    name: str
    parameters: int
    forward_flops: float
    input_flops: float
    weight_flops: float
    input_elements: int
    output_elements: int
    stored_elements: int
    kind: str = "layer"
    signature: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Tie:
    """Parameters that two layers share: token vectors, and the weights of the outputs.

    Attributes
    ----------
    first, last
        A layer, and at which of its parameter elements they begin.
    elements
        How many they are.
    copied
        Has the last layer a copy? Else it reads those of the first, and has none of its own.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    elements: int
    copied: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Layers ``[start, stop)`` of a model; `offset` is where its parameters begin in the model's flat vector."""

    model: Model
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The layer's name, or "first-last"."""
        layers = self.layers
        return layers[0].name if len(layers) == 1 else f"{layers[0].name}-{layers[-1].name}"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers themselves."""
        return self.model.layers[self.start : self.stop]

    @property
    def offset(self) -> int:
        """First parameter element, counted from the model's first."""
        return self.model.offsets[self.start]

    @property
    def parameters(self) -> int:
        """Number of parameter elements."""
        return self.model.offsets[self.stop] - self.model.offsets[self.start]

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return self.parameters * self.model.itemsize

    def of(self, vector: Buffer) -> Buffer:
        """The part's range of a vector as large as the whole model's parameters."""
        return vector.part(self.offset, self.offset + self.parameters, f"{vector.name}.{self.name}")

    def tied(self, vector: Buffer) -> Buffer | None:
        """The range that layers elsewhere have copies of, of a vector as large as the part; None if there is none."""
        tie = self.model.tie
        if tie is None or not tie.copied:
            return None
        for layer, at in (tie.first, tie.last):
            if self.start <= layer < self.stop:
                begin = self.model.offsets[layer] - self.offset + at
                return vector.part(begin, begin + tie.elements, f"{vector.name}.tied")
        return None

    @property
    def is_first(self) -> bool:
        """Does it hold the input layer?"""
        return self.start == 0

    @property
    def is_last(self) -> bool:
        """Does it hold the loss?"""
        return self.stop == len(self.model.layers)

    @property
    def input_elements(self) -> int:
        """Elements per sample that enter the part."""
        return self.model.layers[self.start].input_elements

    @property
    def output_elements(self) -> int:
        """Elements per sample that leave the part."""
        return self.model.layers[self.stop - 1].output_elements

    @property
    def stored_elements(self) -> int:
        """Elements per sample kept from forward to backward."""
        return sum(layer.stored_elements for layer in self.layers)

    @property
    def forward_flops(self) -> float:
        """FLOP per sample, forward."""
        return sum(layer.forward_flops for layer in self.layers)

    @property
    def backward_flops(self) -> float:
        """FLOP per sample, backward; the model's first layer needs no gradient of its input if the model says so."""
        layers = self.layers
        flops = sum(layer.input_flops + layer.weight_flops for layer in layers)
        if self.is_first and not self.model.needs_input_gradient:
            flops -= layers[0].input_flops
        return flops


@dataclass(frozen=True, eq=False)
class Model:
    """A chain of layers whose parameters form one flat vector.

    Attributes
    ----------
    itemsize
        Bytes per element (4: float32).
    needs_input_gradient
        Count the first layer's gradient to its input, as the survey's closed forms do (SCHEMES 0.3).
    source, loss
        What samples are taken from and what loss follows, with their sizes ("digits 64", "classification 10");
        "": without data.
    splitter
        Makes shards of it; None: its layers can't be split.
    piece
        Which shard of another model it is; None: of none.
    tie
        Parameters that two of its layers share; None: there are none.
    untie
        Makes the same model with a copy of them in the second layer, if it has none.
    """

    name: str
    layers: tuple[Layer, ...]
    itemsize: int = 4
    needs_input_gradient: bool = False
    source: str = ""
    loss: str = ""
    splitter: Splitter | None = None
    piece: Split | None = None
    tie: Tie | None = None
    untie: Callable[[], Model] | None = None

    @functools.cached_property
    def offsets(self) -> tuple[int, ...]:
        """Parameter offsets of the layers, and the total."""
        cuts = [0]
        for layer in self.layers:
            cuts.append(cuts[-1] + layer.parameters)
        return tuple(cuts)

    @functools.cached_property
    def kernels(self) -> dict[tuple[object, ...], Kernel]:
        """Kernels of its parts that were made so far (parasim/program/kernels.py); runs ask for them again."""
        return {}

    @functools.cached_property
    def whole(self) -> Part:
        """All layers."""
        return Part(self, 0, len(self.layers))

    def part(self, start: int, stop: int) -> Part:
        """Layers ``[start, stop)``; `IndexError` if empty or outside."""
        if not 0 <= start < stop <= len(self.layers):
            raise IndexError(f"layers [{start}, {stop}) of {len(self.layers)}")
        return Part(self, start, stop)

    def each(self) -> tuple[Part, ...]:
        """Every layer as a part."""
        return tuple(Part(self, i, i + 1) for i in range(len(self.layers)))

    def split(self, how: How, index: int, count: int, start: int = 0, vocabulary: int = 0) -> Shard:
        """What member `index` of `count` holds if layers are split from number `start` on (:class:`Split`).

        Raises
        ------
        ValueError
            If the model's layers are costs alone, or a layer can't be split so.
        """
        if self.splitter is None:
            raise ValueError(f"the layers of model {self.name} are costs alone and can't be split; use one of the zoo")
        split = Split(how, index, count, start, vocabulary)
        found = self.shards.get(split)
        if found is None:
            found = self.shards[split] = self.splitter(split)
        return found

    @functools.cached_property
    def shards(self) -> dict[Split, Shard]:
        """Shards of it that were made so far."""
        return {}

    def buckets(self, nbytes: float, first: float | None = None) -> tuple[Part, ...]:
        """Contiguous parts of at least so many bytes of parameters, filled from the last layer on as DDP's buckets.

        The first to be filled, which is the last of them, has at least `first` bytes (None: as the others).
        """
        cuts = [len(self.layers)]
        size, least = 0, nbytes if first is None else first
        for index in range(len(self.layers) - 1, -1, -1):
            size += self.layers[index].parameters * self.itemsize
            if size >= least and index:
                cuts.append(index)
                size, least = 0, nbytes
        cuts.append(0)
        return tuple(Part(self, start, stop) for stop, start in itertools.pairwise(cuts))[::-1]

    def stages(self, count: int, cost: Callable[[Layer], float] | None = None) -> tuple[Part, ...]:
        """Cut into `count` contiguous parts whose largest cost is least (default cost: FLOP of a training step).

        Raises
        ------
        ValueError
            If there are fewer layers than parts.
        """
        if count > len(self.layers):
            raise ValueError(f"{count} stages need at least {count} layers; {self.name} has {len(self.layers)}")
        weigh = cost or (lambda layer: layer.forward_flops + layer.input_flops + layer.weight_flops)
        cuts = balanced_cuts([[weigh(layer) for layer in self.layers]] * count)
        assert cuts is not None
        return tuple(Part(self, cuts[k], cuts[k + 1]) for k in range(count))
