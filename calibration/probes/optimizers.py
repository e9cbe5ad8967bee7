"""Probes of optimisers' updates over sizes, and of how a gradient's pieces become one vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from calibration.probes.compute_timing import CpuClock, Point, observed
from calibration.probes.record import Observation, Task
from parasim.learning.build import make_optimizer
from parasim.program.kernels import counted, update_function
from parasim.program.ops import Kernel
from parasim.program.tensors import Shape

__all__ = ["UPDATES", "probe_optimizers", "update_kernel", "update_points"]

SIZES = (1024, 65_536, 1_048_576, 8_388_608)
"""Elements of the parameters."""

UPDATES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("adagrad", {}),
    ("adam", {}),
)
"""Optimisers whose updates do different work."""

_SCALE = 0.125


def probe_optimizers(task: Task) -> Iterator[Observation]:
    """Updates of every optimiser, and the gathering of gradients, over sizes."""
    yield from observed("optimizers", task, update_points("cpu"), CpuClock())


def update_kernel(kind: str, options: dict[str, Any], elements: int, itemsize: int = 4) -> Kernel:
    """The kernel of an update by a scaled gradient, as `Context.optimize` asks for it."""
    optimizer = make_optimizer(kind, options)
    operands = (Shape(elements, itemsize),) * (2 + len(optimizer.slots))
    cost = counted(update_function(optimizer, False), operands, (("scale", _SCALE),), ("count",))
    return cost.kernel("update", "update")


def update_points(device: str) -> list[Point]:
    """Exact blocks (kind "block"), named by their verbs; and "gather/backward"."""
    points = []
    for elements in SIZES:
        for kind, options in UPDATES:
            kernel = update_kernel(kind, dict(options), elements)
            parameters: dict[str, float | str] = {
                "signature": kernel.signature, "size": elements, "flops": kernel.flops, "nbytes": kernel.nbytes,
                "optimizer": kind, "cores": 1,
            }  # fmt: skip

            def update(kind: str = kind, options: Any = options, elements: int = elements) -> Callable[[], object]:
                return _update(kind, dict(options), elements, device)

            points.append(Point("block", parameters, update))

        def gather(elements: int = elements) -> Callable[[], object]:
            return _gather(elements, device)

        points.append(Point("gather/backward", {"flops": 0.0, "nbytes": 16.0 * elements, "elements": elements}, gather))
    return points


def _update(kind: str, options: dict[str, Any], elements: int, device: str) -> Callable[[], object]:
    from parasim.learning.tensors import TorchTensors

    xp = TorchTensors("float32", device)
    optimizer = make_optimizer(kind, options)
    function = update_function(optimizer, False)
    parameters, gradient, *slots = (xp.zeros(elements) for _ in range(2 + len(optimizer.slots)))
    xp.fill_(gradient, 1e-3)
    return lambda: function(xp, parameters, *slots, gradient, count=10, scale=_SCALE)


def _gather(elements: int, device: str) -> Callable[[], object]:
    """Four layers' gradients as one vector, copied to where it is wanted."""
    import torch

    from parasim.learning.tensors import TorchTensors

    xp = TorchTensors("float32", device)
    pieces = [torch.zeros(elements // 4, device=device) for _ in range(4)]
    into = xp.zeros(elements)
    return lambda: xp.copy_(into, torch.cat(pieces))
