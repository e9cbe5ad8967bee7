"""Networks by name: one file per family, each with its paper."""

from parasim.workload.zoo.table import ALIASES, ZOO, Entry

__all__ = ["ALIASES", "ZOO", "Entry"]
