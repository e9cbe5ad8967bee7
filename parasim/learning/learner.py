"""A network with its data, as the context sees it (`parasim.program.learner.Learner`)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from parasim.errors import ProgramError
from parasim.learning.chains import BlockChain, chain_of
from parasim.learning.dataset import DataSet, Sampler
from parasim.learning.initial import InitialWeights
from parasim.learning.ledger import blocks_of
from parasim.learning.networks import LOSSES
from parasim.learning.segments import Segments
from parasim.learning.tensors import TorchTensors, aligned
from parasim.learning.together import Promised, Share, Together
from parasim.program.model import Model, Part
from parasim.program.shards import Split
from parasim.program.tensors import Tensors
from parasim.workload.blocks import Network

__all__ = ["Saved", "TorchLearner"]

_EVALUATED_AT_ONCE = 250
_SAMPLES_AT_ONCE = 256
"""Of shares that are computed together: what more of them pass through leaves the caches (64 workers of 64 samples on
an AMD EPYC took 1.49 times as long as a plain loop in one pass, 1.25 times like this)."""


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """What a part's backward pass needs: what its chain kept, and of the last part the gradient of the loss."""

    kept: Any
    residual: torch.Tensor | None
    keeper: Any = None
    """What keeps parameters as they were, if they were not copied."""


class TorchLearner:
    """One object for all virtual workers: everything is a function of the arguments and of what it was made with.

    Parameters
    ----------
    network
        The blocks.
    model
        Their costs; parts are given in terms of it (or of an equal one).
    data
        Samples to train on and to evaluate on.
    seed
        Of initial weights and of the order of samples.
    dtype
        "float32" or "float64".
    device
        Where data and parameters live: "cpu", "cuda:1".

    Notes
    -----
    Not run on a GPU yet. Values of different devices differ in their last bits: libraries sum in other orders.
    """

    def __init__(
        self, network: Network, model: Model, data: DataSet, seed: int, dtype: str, device: str = "cpu"
    ) -> None:
        namespace = TorchTensors(dtype, device)
        data = data.to(namespace.device)
        self.tensors: Tensors = namespace
        self.model = model
        self.data = data
        self._dtype = namespace.dtype
        self._device = namespace.device
        self._network = network
        self._seed = seed
        self._initial = InitialWeights(network, seed, self._dtype)
        self._nothing = torch.empty(0, dtype=self._dtype, device=self._device)
        self._chain = chain_of(network, data.hessian, data.optimum)
        self._loss = LOSSES[data.spec.kind]
        self._shards: dict[Split, Segments] = {}
        self._sampler = Sampler(data.spec.samples, seed, namespace.device)
        self._members: dict[tuple[int, bool], TorchLearner] = {(0, False): self}

    def member(self, number: int, bagged: bool = False) -> TorchLearner:
        """The same network and data with a seed larger by `number`, its samples drawn with replacement if `bagged`."""
        found = self._members.get((number, bagged))
        if found is None:
            found = self._members[number, bagged] = copy.copy(self)
            found._seed = self._seed + number
            found._initial = InitialWeights(self._network, found._seed, self._dtype)
            found._sampler = Sampler(self.data.spec.samples, found._seed, self._device, bagged)
        return found

    def initial(self, part: Part) -> torch.Tensor:
        """Initial parameters of a part, flat; the same values however the model is cut.

        Raises
        ------
        ProgramError
            If the part is of a model with other layers.
        """
        if part.model.piece is not None:
            return self._segments(part).initial(part, self._initial).to(self._device)
        if part.model.layers != self.model.layers:
            raise ProgramError(
                f"part {part.name} is of model {part.model.name} with {len(part.model.layers)} layers and "
                f"{part.model.whole.parameters} parameters, the learner's has {len(self.model.layers)} layers and "
                f"{self.model.whole.parameters} parameters; build both from the same options and data"
            )
        return torch.cat([self._initial.of(index) for index in range(part.start, part.stop)]).to(self._device)

    def samples(self, step: int, start: int, stop: int, batch: int) -> torch.Tensor:
        """Numbers of samples `start`..`stop` - 1 of the global mini-batch of `batch` samples of iteration `step`."""
        return self._sampler.take(step, start, stop, batch)

    def inputs(self, samples: torch.Tensor) -> torch.Tensor:
        """Inputs of these samples, flat: numbers, or tokens (int64)."""
        return self.data.ready(torch.index_select(self.data.inputs, 0, samples)).view(-1)

    def labels(self, samples: torch.Tensor) -> torch.Tensor:
        """What these samples should give, flat: targets, or a one for the class (of each token) and zeros elsewhere.

        Raises
        ------
        ProgramError
            If the data have no labels.
        """
        if self.data.spec.kind == "quadratic":
            raise ProgramError(f"data {self.data.spec.name} have no labels; leave `labels` out")
        targets = torch.index_select(self.data.targets, 0, samples).flatten()
        if self.data.spec.kind == "regression":
            return targets.to(self._dtype)
        classes = samples.numel() * self.model.whole.output_elements // targets.numel()
        return torch.nn.functional.one_hot(targets.long(), classes).to(self._dtype).flatten()

    def forward(
        self,
        part: Part,
        parameters: torch.Tensor,
        inputs: torch.Tensor,
        samples: torch.Tensor,
        lent: bool = False,
        keeper: Any = None,
    ) -> tuple[torch.Tensor, Saved]:
        """Outputs (flat; of the last part: the mean loss) and what backward needs, copied unless lent or kept."""
        rows = inputs.view(samples.numel(), part.input_elements)
        outputs, kept = self._chain.forward(part, parameters, rows, lent=lent, frozen=keeper is not None)
        if not part.is_last:
            return outputs.reshape(-1), Saved(kept, None, keeper)
        loss, residual = self._loss(outputs, torch.index_select(self.data.targets, 0, samples))
        return loss.reshape(1), Saved(kept, residual, keeper)

    def forward_shares(
        self, part: Part, parameters: torch.Tensor, samples: torch.Tensor, shares: int
    ) -> list[tuple[torch.Tensor, Saved]] | None:
        """Of each share the mean loss and what backward needs, in few passes; None if this network has none."""
        if not isinstance(self._chain, BlockChain):
            return None
        size = samples.numel() // shares
        found: list[tuple[torch.Tensor, Saved]] = []
        for numbers in torch.split(samples, size * max(1, _SAMPLES_AT_ONCE // size)):
            rows = self.inputs(numbers).view(numbers.numel(), part.input_elements)
            targets = torch.index_select(self.data.targets, 0, numbers)
            made = Together(self._chain, self._loss, part, parameters, rows, targets, numbers.numel() // size)
            found += [(loss, Saved(Share(made, number), None)) for number, loss in enumerate(made.losses)]
        return found

    def promise(self, saved: Saved) -> Promised | None:
        """The gradient of a share, to be made when it is wanted; None of a pass by itself."""
        return Promised(saved.kept, saved.keeper) if isinstance(saved.kept, Share) else None

    def backward(
        self, part: Part, saved: Saved, gradient: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Gradients to the inputs (flat; None for the first part) and to the parameters (flat).

        Raises
        ------
        ProgramError
            If the last part is given a gradient, or another part none.
        """
        if isinstance(saved.kept, Share):
            return None, saved.kept.gradient
        flow, gradients = self._chain.backward(part, saved.kept, self._flow(part, saved, gradient))
        return None if part.is_first else flow.reshape(-1), torch.cat([self._nothing, *gradients])

    def backward_inputs(
        self, part: Part, saved: Saved, gradient: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """Gradients to the inputs alone, and what the other half needs; as :meth:`backward` otherwise."""
        if isinstance(saved.kept, Share):
            return None, []
        flow, flows = self._chain.backward_inputs(part, saved.kept, self._flow(part, saved, gradient))
        return None if part.is_first else flow.reshape(-1), flows

    def backward_weights(self, part: Part, saved: Saved, flows: list[torch.Tensor]) -> torch.Tensor:
        """Gradients to the parameters (flat): the other half of :meth:`backward_inputs`."""
        if isinstance(saved.kept, Share):
            return saved.kept.gradient
        return torch.cat([self._nothing, *self._chain.backward_weights(part, saved.kept, flows)])

    def _flow(self, part: Part, saved: Saved, gradient: torch.Tensor | None) -> torch.Tensor:
        """Where a backward pass begins."""
        if (gradient is None) != part.is_last:
            given = "no gradient" if gradient is None else "a gradient"
            raise ProgramError(f"backward of {part.name} was given {given}; all parts but the last one need it")
        if gradient is not None:
            return aligned(gradient).view(-1, part.output_elements)
        assert saved.residual is not None
        return saved.residual

    def distil(
        self, saved: Saved, samples: torch.Tensor, soft: torch.Tensor, soften: Callable[..., None], weight: float
    ) -> None:
        """Add `weight` times the loss against `soft` predictions to what the last part's backward pass starts at.

        Raises
        ------
        ProgramError
            If the data have no labels.
        """
        assert saved.residual is not None
        labels = self.labels(samples)
        share = 1.0 / (samples.numel() if self.data.spec.kind == "regression" else int(labels.sum()))
        soften(self.tensors, saved.residual.view(-1), labels, soft, share=share, weight=weight)

    def predict(self, parameters: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Predictions of the whole model, flat: probabilities of classes, or the outputs themselves."""
        return self._predict(parameters, self.inputs(samples).view(samples.numel(), -1))

    def predict_held_out(self, parameters: torch.Tensor, count: int) -> torch.Tensor:
        """The same for the first `count` samples of the evaluation set, which begins anew where it ends."""
        rows = torch.arange(count, device=self._device) % self.held_out
        inputs = (self.data.ready(self.data.held_out_inputs[some]) for some in torch.split(rows, _EVALUATED_AT_ONCE))
        return torch.cat([self._predict(parameters, some) for some in inputs])

    def judge(self, predictions: torch.Tensor) -> tuple[float, float | None]:
        """Mean loss of predictions for the first samples of the evaluation set, and accuracy if there are classes."""
        rows = predictions.view(-1, self.model.whole.output_elements)
        targets = self.data.held_out_targets[torch.arange(len(rows), device=self._device) % self.held_out]
        if not self._classes:
            return float(self._loss(rows, targets)[0]), None
        loss, _ = self._loss(rows.clamp_min(torch.finfo(rows.dtype).tiny).log(), targets)  # softmax of logs: themselves
        return float(loss), _accuracy(rows, targets)

    @property
    def held_out(self) -> int:
        """Samples of the evaluation set."""
        return len(self.data.held_out_inputs)

    @property
    def _classes(self) -> bool:
        return self.data.spec.kind in ("classification", "tokens")

    def _predict(self, parameters: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        outputs, _ = self._chain.forward(self.model.whole, parameters, inputs, record=False)
        if self._classes:  # of each token, if there are several
            classes = self.data.spec.outputs
            outputs = torch.softmax(outputs.reshape(-1, classes), dim=1)
        return outputs.reshape(-1)

    def blocks(self, what: Any) -> dict[int, int]:
        """Address and bytes of every block of memory that tensors of `what` lie in, each once."""
        return blocks_of(what)

    def give_up(self, vector: torch.Tensor) -> None:
        """Free the memory of a vector, as FSDP does; views of it stay and are of no use until it is renewed."""
        vector.untyped_storage().resize_(0)

    def renew(self, vector: torch.Tensor) -> None:
        """Give a vector memory again, with any contents."""
        vector.untyped_storage().resize_(vector.numel() * vector.element_size())

    def forward_segment(
        self, part: Part, parameters: torch.Tensor, inputs: torch.Tensor, aside: Any, samples: torch.Tensor
    ) -> tuple[torch.Tensor, Any, Any]:
        """Forward pass of one segment of a shard: outputs, what is kept aside, and what backward needs."""
        targets = torch.index_select(self.data.targets, 0, samples)
        return self._segments(part).forward(part, parameters, inputs, aside, targets)

    def backward_segment(
        self, part: Part, saved: Any, gradient: torch.Tensor | None, aside: Any
    ) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Gradients to the segment's inputs, to what was kept aside before it, and to its parameters."""
        return self._segments(part).backward(part, saved, gradient, aside)

    def _segments(self, part: Part) -> Segments:
        """The mathematics of the shard that a part is of."""
        split = part.model.piece
        assert split is not None
        found = self._shards.get(split)
        if found is None:
            found = self._shards[split] = Segments(self._network, split, self._loss)
        return found

    def put(self, part: Part, values: torch.Tensor, into: torch.Tensor) -> None:
        """Write parameters of a part (of a shard, too) to their places in the vector of the whole model."""
        if part.model.piece is None:
            into[part.offset : part.offset + part.parameters] = values
        else:
            places = self._segments(part).places(part, self.model.offsets)
            into[places[places >= 0]] = values[places >= 0]

    def evaluate(self, parameters: torch.Tensor) -> tuple[float, float | None]:
        """Mean loss on the evaluation set, and the accuracy there if the data have classes."""
        return self.loss(parameters), self.accuracy(parameters) if self._classes else None

    def loss(self, parameters: torch.Tensor) -> float:
        """Mean loss of the whole model on the evaluation set; of a quadratic function, its value without noise."""
        return self._evaluate(parameters, lambda outputs, targets: float(self._loss(outputs, targets)[0]))

    def accuracy(self, parameters: torch.Tensor) -> float:
        """Share of the evaluation set (of its tokens) that is classified rightly.

        Raises
        ------
        ProgramError
            If the data have no classes.
        """
        if not self._classes:
            raise ProgramError(f"data {self.data.spec.name} have no classes, so there is no accuracy; use the loss")
        return self._evaluate(parameters, _accuracy)

    def rightly(self, parameters: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """How many of these training samples are classified rightly: one element; of tokens, their share is summed."""
        rows = self.inputs(samples).view(samples.numel(), -1)
        outputs, _ = self._chain.forward(self.model.whole, parameters, rows, record=False)
        targets = torch.index_select(self.data.targets, 0, samples)
        found = outputs.view(targets.numel(), -1).argmax(1) == targets.view(-1)
        return found.view(samples.numel(), -1).to(self._dtype).mean(1).sum().reshape(1)

    def _evaluate(self, parameters: torch.Tensor, figure: Callable[[torch.Tensor, torch.Tensor], float]) -> float:
        """Mean of a figure over the evaluation set, by pieces; `BatchNorm` takes the statistics of each piece."""
        data, total = self.data, 0.0
        pieces = (torch.split(values, _EVALUATED_AT_ONCE) for values in (data.held_out_inputs, data.held_out_targets))
        for inputs, targets in zip(*pieces, strict=True):
            outputs, _ = self._chain.forward(self.model.whole, parameters, data.ready(inputs), record=False)
            total += figure(outputs, targets) * len(inputs)
        return total / len(data.held_out_inputs)


def _accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of samples (of tokens) whose largest output is that of their class."""
    found = outputs.view(targets.numel(), -1).argmax(1)
    return float((found == targets.view(-1)).double().mean())
