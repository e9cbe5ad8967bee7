"""What virtual workers cost over their gradients: ``python -m benchmarks.gradients``.

Synchronous workers train a perceptron on handwritten digits. Beside each scheme, in turn, a plain torch loop computes
the same gradients: automatic differentiation of one module, share by share, added up, one step of torch's SGD. Figures
are CPU seconds of one step, from the difference of a long and a short run, so that start-up is left out; medians over
repetitions, and ratios to the loop beside them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import parasim
from benchmarks.learning import document
from parasim.scenario import from_document

__all__ = ["main", "measure", "plain_steps"]

_SHORT, _LONG = 2, 8
SCHEMES = ("allreduce", "parameter_server")


def plain_steps(text: dict[str, Any], steps: int) -> float:
    """CPU seconds of a plain torch loop that makes the same steps; and no simulation."""
    import torch

    from parasim.learning.build import make_learner

    given, workers, size = text["workload"], text["scheme"]["workers"], text["workload"]["batch_size"]
    data = {key: value for key, value in given["data"].items() if key != "kind"}
    model = {key: value for key, value in given["model"].items() if key != "kind"}
    learner = make_learner(given["model"]["kind"], model, given["data"]["kind"], data, 0, "float32")
    shapes = [(layer.output_elements, layer.input_elements) for layer in learner.model.layers]
    layers: list[torch.nn.Module] = []
    for outputs, inputs in shapes:
        layers += [torch.nn.Linear(inputs, outputs, bias=False), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), text["optimizer"]["lr"])
    begun = time.process_time()
    for step in range(steps):
        optimizer.zero_grad()
        for worker in range(workers):
            samples = learner.samples(step, worker * size, (worker + 1) * size, workers * size)
            outputs = network(learner.data.inputs[samples])
            torch.nn.functional.cross_entropy(outputs, learner.data.targets[samples]).backward()
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.grad /= workers
        optimizer.step()
    return time.process_time() - begun


def simulated_steps(text: dict[str, Any], steps: int, batched: bool) -> float:
    """CPU seconds of a simulated run of so many steps."""
    scenario = from_document({**text, "run": {**text["run"], "steps": steps, "batched_gradients": batched}})
    begun = time.process_time()
    parasim.simulate(scenario)
    return time.process_time() - begun


def measure(kind: str, workers: int, repeat: int, width: int = 256) -> dict[str, float]:
    """CPU seconds per step: of the plain loop, of parasim, and with batched gradients; medians."""
    from parasim.learning.build import pin_threads

    pin_threads()
    text = document(workers, _SHORT, kind, width=width)
    ways: dict[str, Callable[[int], float]] = {
        "plain torch": lambda steps: plain_steps(text, steps),
        "parasim": lambda steps: simulated_steps(text, steps, batched=False),
        "batched": lambda steps: simulated_steps(text, steps, batched=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(1)
    for _ in range(repeat):
        for name, way in ways.items():
            short = way(_SHORT)
            taken[name].append((way(_LONG) - short) / (_LONG - _SHORT))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradients", description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--scheme", action="append", help=f"one of them (default: {', '.join(SCHEMES)})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    given = parser.parse_args(arguments)
    found = {kind: measure(kind, given.workers, given.repeat) for kind in given.scheme or SCHEMES}
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    for kind, seconds in found.items():
        print(f"{kind} of {given.workers}")
        for name, value in seconds.items():
            print(f"  {name:<12} {value * 1e3:8.1f} ms/step  {value / seconds['plain torch']:5.2f} x plain")
    return 0


if __name__ == "__main__":
    sys.exit(main())
