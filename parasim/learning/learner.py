"""A network with its data, as the context sees it (`parasim.program.learner.Learner`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from parasim.errors import ProgramError
from parasim.learning.data import DataSet, Sampler
from parasim.learning.networks import ACTIVATIONS, LOSSES, block_math, initial_weights
from parasim.learning.tensors import TorchTensors, aligned
from parasim.program.model import Model, Part
from parasim.program.tensors import Tensors
from parasim.workload.blocks import Network

__all__ = ["Saved", "TorchLearner"]


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """What a part's backward pass needs: activated inputs and weights of each block; of the last, the residual."""

    inputs: list[torch.Tensor]
    weights: list[torch.Tensor]
    residual: torch.Tensor | None


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
        self._blocks = [block_math(block, data.hessian, data.optimum) for block in network.blocks]
        self._activation = ACTIVATIONS[network.activation]
        self._loss = LOSSES[data.spec.kind]
        self._sampler = Sampler(data.spec.samples, seed, namespace.device)

    def initial(self, part: Part) -> torch.Tensor:
        """Initial parameters of a part, flat; the same values however the model is cut.

        Raises
        ------
        ProgramError
            If the part is of a model with other layers.
        """
        if part.model.layers != self.model.layers:
            raise ProgramError(
                f"part {part.name} is of model {part.model.name} with {len(part.model.layers)} layers and "
                f"{part.model.whole.parameters} parameters, the learner's has {len(self.model.layers)} layers and "
                f"{self.model.whole.parameters} parameters; build both from the same options and data"
            )
        indices = range(part.start, part.stop)
        weights = torch.cat([initial_weights(self._network, i, self._seed, self._dtype) for i in indices])
        return weights.to(self._device)

    def samples(self, step: int, start: int, stop: int, batch: int) -> torch.Tensor:
        """Numbers of samples `start`..`stop` - 1 of the global mini-batch of `batch` samples of iteration `step`."""
        return self._sampler.take(step, start, stop, batch)

    def inputs(self, samples: torch.Tensor) -> torch.Tensor:
        """Input vectors of these samples, flat."""
        return torch.index_select(self.data.inputs, 0, samples).view(-1)

    def forward(
        self, part: Part, parameters: torch.Tensor, inputs: torch.Tensor, samples: torch.Tensor
    ) -> tuple[torch.Tensor, Saved]:
        """Outputs (flat; of the last part: the mean loss) and what backward needs, all of it copied."""
        rows = inputs.view(samples.numel(), part.input_elements)
        outputs, kept, weights = self._run(part, parameters, rows)
        if not part.is_last:
            return outputs.reshape(-1), Saved(kept, weights, None)
        loss, residual = self._loss(outputs, torch.index_select(self.data.targets, 0, samples))
        return loss.reshape(1), Saved(kept, weights, residual)

    def backward(
        self, part: Part, saved: Saved, gradient: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Gradients to the inputs (flat; None for the first part) and to the parameters (flat).

        Raises
        ------
        ProgramError
            If the last part is given a gradient, or another part none.
        """
        if (gradient is None) != part.is_last:
            given = "no gradient" if gradient is None else "a gradient"
            raise ProgramError(f"backward of {part.name} was given {given}; all parts but the last one need it")
        if gradient is None:
            assert saved.residual is not None
            flow = saved.residual
        else:
            flow = aligned(gradient).view(-1, part.output_elements)
        result = torch.empty(part.parameters, dtype=self._dtype, device=self._device)
        offsets = self.model.offsets
        for i in reversed(range(part.start, part.stop)):
            kept, weights = saved.inputs[i - part.start], saved.weights[i - part.start]
            downstream, steepest = self._blocks[i].backward(flow, kept, weights, i > 0)
            result[offsets[i] - part.offset : offsets[i + 1] - part.offset] = steepest.view(-1)
            if downstream is not None:
                flow = self._activation.backward(downstream, kept)
        return None if part.is_first else flow.reshape(-1), result

    def loss(self, parameters: torch.Tensor) -> float:
        """Mean loss of the whole model on the evaluation set; of a quadratic function, its value without noise."""
        outputs, _, _ = self._run(self.model.whole, parameters, self.data.held_out_inputs)
        return float(self._loss(outputs, self.data.held_out_targets)[0])

    def accuracy(self, parameters: torch.Tensor) -> float:
        """Share of the evaluation set that is classified rightly.

        Raises
        ------
        ProgramError
            If the data have no classes.
        """
        if self.data.spec.kind != "classification":
            raise ProgramError(f"data {self.data.spec.name} have no classes, so there is no accuracy; use the loss")
        outputs, _, _ = self._run(self.model.whole, parameters, self.data.held_out_inputs)
        return float((outputs.argmax(1) == self.data.held_out_targets).double().mean())

    def _run(
        self, part: Part, parameters: torch.Tensor, x: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Outputs of a part's blocks, and copies of their activated inputs and weights."""
        kept: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        offsets = self.model.offsets
        for i in range(part.start, part.stop):
            block = self._blocks[i]
            w = parameters[offsets[i] - part.offset : offsets[i + 1] - part.offset].clone().view(block.shape)
            h = x.clone() if i == 0 else self._activation.apply(x)
            x = block.forward(h, w)
            kept.append(h)
            weights.append(w)
        return x, kept, weights
