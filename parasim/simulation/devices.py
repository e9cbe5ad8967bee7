"""How long a kernel takes on a device: the roofline (Williams, Waterman, Patterson 2009) plus a fixed launch time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from parasim.cluster.hosts import Device
from parasim.program.ops import Kernel

__all__ = ["Efficiency", "kernel_seconds"]

Efficiency = Callable[[Kernel], float]
"""The fraction, above 0, of the roofline that a kernel reaches, as a function of its size."""

_PEAK: Mapping[str, Efficiency] = MappingProxyType({})


def kernel_seconds(device: Device, kernel: Kernel, efficiency: Mapping[str, Efficiency] = _PEAK) -> float:
    """Time of a kernel, alone on the device.

    Parameters
    ----------
    device
        Peak rates, the fraction of them that is reached, and launch time.
    kernel
        FLOP, and bytes moved through memory.
    efficiency
        Curves by kind of kernel, on top of the device's own efficiency; a kind without one runs at that alone.

    Returns
    -------
    float
        Seconds: ``max(flops / F, nbytes / B) / efficiency + launch``, the efficiency being the product of both.
    """
    seconds = max(kernel.flops / device.flops, kernel.nbytes / device.memory_bandwidth) / device.efficiency
    curve = efficiency.get(kernel.kind)
    if curve is not None:
        seconds /= curve(kernel)
    return seconds + device.launch
