"""How long a kernel takes on a device: as measured, or by the roofline (Williams, Waterman, Patterson 2009)."""

from __future__ import annotations

from parasim.cluster.hosts import Device
from parasim.program.ops import Kernel

__all__ = ["kernel_seconds"]


def kernel_seconds(device: Device, kernel: Kernel) -> float:
    """Time of a kernel, alone on the device.

    Parameters
    ----------
    device
        Peak rates, the fraction of them that is reached, launch time, and what was measured if it is calibrated.
    kernel
        FLOP, and bytes moved through memory.

    Returns
    -------
    float
        Seconds: ``max(flops / F, nbytes / B) / efficiency + launch + lines * coherence``; of a calibrated device, what
        the device's curves (parasim/cluster/curves.py) say instead of the maximum.
    """
    if device.curves is None:
        ideal = max(kernel.flops / device.flops, kernel.nbytes / device.memory_bandwidth)
    else:
        ideal = device.curves.seconds(kernel, device.flops, device.memory_bandwidth)
    return ideal / device.efficiency + device.launch + kernel.lines * device.coherence
