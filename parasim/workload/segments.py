"""Segments of a split network while they are made: what each holds, and what members exchange before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from parasim.errors import ScenarioError
from parasim.program.buffers import bounds
from parasim.program.shards import WHOLE, Crossing, Split
from parasim.workload.blocks import Block, Ending, Network
from parasim.workload.unit import Unit

__all__ = ["Columns", "Segments", "Slice", "columns_of"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Where a parameter of a segment comes from: entries `ranges` along `dimension` of a block's parameter.

    No ranges: all of it. The parameter of a block that is no unit is number 0.
    """

    block: int
    parameter: int
    dimension: int = 0
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """A split array: `channels` of every member, each of `size` columns, in so many rows per sample."""

    channels: tuple[int, ...]
    size: int = 1
    rows: int = 1

    def range(self, index: int, per_channel: int) -> tuple[int, int]:
        """What a member has of an array with `per_channel` entries for each channel."""
        first = sum(self.channels[:index])
        return first * per_channel, (first + self.channels[index]) * per_channel


@dataclass(slots=True)
class Segments:
    """The segments made so far, and what leaves the last one: whole arrays, columns, or parts of a sum."""

    split: Split
    blocks: list[Block] = field(default_factory=list)
    slices: list[tuple[Slice, ...]] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    columns: Columns | None = None
    partial: bool = False

    def add(self, block: Block, slices: Sequence[Slice], *, splits: bool, continues: bool = False) -> None:
        """A segment; `splits`: its gradient of the inputs is a part of a sum; `continues`: it takes columns as are."""
        self.crossings.append(WHOLE if continues else self._crossing(block, splits))
        self.blocks.append(block)
        self.slices.append(tuple(slices))
        self.columns, self.partial = None, False

    def _crossing(self, block: Block, splits: bool) -> Crossing:
        """The tables of parasim/program/shards.py."""
        if self.columns is not None:
            widths = tuple(channels * self.columns.size for channels in self.columns.channels)
            return Crossing("gather", "scatter" if splits else "own", widths, self.columns.rows)
        if self.partial:
            return Crossing("sum", "sum" if splits else "none")
        if splits and not self.blocks and self.split.how == "outputs" and not isinstance(block, Unit):
            cuts = bounds(block.inputs, self.split.count)
            widths = tuple(cuts[j + 1] - cuts[j] for j in range(self.split.count))
            return Crossing("none", "scatter", widths)  # the survey counts it: 2 L exchanges (SCHEMES 0.3)
        return Crossing("none", "sum" if splits else "none")

    def whole(self, number: int, block: Block) -> None:
        """A block that every member repeats."""
        count = len(block.cost.parameters) if isinstance(block, Unit) else 1
        self.add(block, [Slice(number, parameter) for parameter in range(count)], splits=False)

    def end(self, network: Network) -> None:
        """The loss needs whole outputs."""
        if self.columns is None and not self.partial:
            return
        last = network.blocks[-1]
        if isinstance(last, Unit):
            self.add(Unit("loss", last.cost.outputs, ()), (), splits=False)
        else:
            self.add(Ending("loss", last.outputs), (), splits=False)


def columns_of(total: int, split: Split, what: str) -> tuple[int, ...]:
    """So many of `what` for each member; `ScenarioError` if there are fewer than members."""
    if total < split.count:
        raise ScenarioError(f"{what} can't be split among {split.count} members; use {total} at most")
    cuts = bounds(total, split.count)
    return tuple(cuts[j + 1] - cuts[j] for j in range(split.count))
