"""The tables of kinds that a scenario chooses from, gathered from their owners when first needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from parasim.program.compressor import Compressor

if TYPE_CHECKING:
    from parasim.schemes import Names

__all__ = ["compressor_kinds", "data_kinds", "model_kinds", "optimizer_kinds", "schedule_kinds", "scheme_kinds"]


def scheme_kinds() -> Names:
    """Every scheme, by name and by alias."""
    from parasim.schemes import NAMES

    return NAMES


def model_kinds() -> Mapping[str, type]:
    """Options of every kind of model."""
    from parasim.workload import MODELS

    return MODELS


def data_kinds() -> Mapping[str, type]:
    """Options of every kind of data."""
    from parasim.workload import DATA

    return DATA


def compressor_kinds() -> Mapping[str, type[Compressor]]:
    """Every compressor, by name and by alias; its fields are its options."""
    from parasim.compression import COMPRESSORS

    aliases = {alias: code for code in COMPRESSORS.values() for alias in code.aliases}
    return aliases | COMPRESSORS


def optimizer_kinds() -> Mapping[str, type]:
    """Every update rule; its fields are its options."""
    from parasim.learning.optimizers import OPTIMIZERS

    return OPTIMIZERS


def schedule_kinds() -> Mapping[str, type]:
    """Every schedule of a learning rate."""
    from parasim.learning.rates import SCHEDULES

    return SCHEDULES
