"""What a file may say of a device: numbers, the name of a data sheet, or a data sheet with some numbers replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parasim.cluster.hosts import Device
from parasim.cluster.sheets import find_sheet
from parasim.fields import described, setting
from parasim.scenario.check import Section, shorten

__all__ = ["FromSheet", "read_device"]

_EXAMPLE = "{flops: 50 GFLOP/s, memory: 16 GiB, memory_bandwidth: 20 GB/s}, or a data sheet's name: V100"


@dataclass(frozen=True, slots=True, kw_only=True)
class FromSheet:
    """The keys of a device that rests on a data sheet; those of `Device` beside them replace numbers of the sheet."""

    sheet: str = setting("name of a data sheet that gives what is not given here")
    tensor_float32: bool = setting("compute float32 in tensor-float32, where the sheet has it", False)


def read_device(section: Section, dtype: str = "float32", key: str = "device") -> Device:
    """The device under a key of a section.

    Parameters
    ----------
    section
        What holds the key: `cluster`, or the section of one host.
    dtype
        The workload's: its peak is taken from data sheets. Plain numbers are taken to be meant for it.

    Raises
    ------
    ScenarioError
        If there is no such sheet, it has no peak for the type, or a number is wrong or missing.
    """
    value = section.data.get(key)
    if isinstance(value, str):
        with section.blamed(key):
            return find_sheet(value).device(dtype)
    if value is not None and not isinstance(value, dict):
        raise section.error(key, f"is {shorten(value)}, no device: write {key}: {_EXAMPLE}")
    inner = section.section(key, example=_EXAMPLE)
    if "sheet" not in inner.data:
        if "tensor_float32" in inner.data:
            what = "is a choice among the peaks of a data sheet: give sheet: A100 beside it, or leave it out"
            raise inner.error("tensor_float32", what, at_key=True)
        return inner.build(Device, beside=("sheet",), defaults={"dtype": dtype})
    chosen = inner.build(FromSheet, beside=described(Device))
    with inner.blamed("sheet"):
        sheet = find_sheet(chosen.sheet)
    own: dict[str, Any] = {"name": sheet.name, "dtype": dtype, "source": sheet.source}
    own |= {"memory": sheet.memory, "memory_bandwidth": sheet.memory_bandwidth}
    if "flops" not in inner.data:
        with inner.blamed("tensor_float32" if chosen.tensor_float32 else "sheet"):
            own["flops"] = sheet.peak(dtype, chosen.tensor_float32)
    elif chosen.tensor_float32:
        raise inner.error("tensor_float32", "chooses the sheet's peak, but flops is given too: keep one", at_key=True)
    return inner.build(Device, beside=described(FromSheet), defaults=own)
