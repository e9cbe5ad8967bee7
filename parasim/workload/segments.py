"""Segments of a split network while they are made: what each holds, and what members exchange before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from parasim.errors import ScenarioError
from parasim.program.buffers import bounds
from parasim.program.shards import WHOLE, Crossing, Split
from parasim.workload.blocks import Block, Ending, Network
from parasim.workload.operators import LogitLoss, LogitMaxima, LogitSums, Operator
from parasim.workload.unit import Unit

__all__ = ["Columns", "Rows", "Segments", "Slice", "columns_of", "rows_of"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Where a parameter of a segment comes from: entries `ranges` along `dimension` of a block's parameter.

    No ranges: all of it. The parameter of a block that is no unit is number 0. So many elements of `padding` follow:
    they are zero, stay so, and come from nowhere.
    """

    block: int
    parameter: int
    dimension: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    padding: int = 0


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


@dataclass(frozen=True, slots=True)
class Rows:
    """A member's rows of a vocabulary: `known` from number `first` on, and padding up to `size`."""

    first: int
    known: int
    size: int

    def slice_of(self, where: Slice, width: int) -> Slice:
        """Of a parameter with a row of `width` elements for each kind of token."""
        padding = (self.size - self.known) * width
        return replace(where, ranges=((self.first, self.first + self.known),), padding=padding)


@dataclass(slots=True)
class Segments:
    """The segments made so far, and what leaves the last one: whole arrays, columns, or parts of a sum.

    `logits`: it leaves one's own columns of the logits, for the fused loss.
    """

    split: Split
    blocks: list[Block] = field(default_factory=list)
    slices: list[tuple[Slice, ...]] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    columns: Columns | None = None
    partial: bool = False
    logits: Rows | None = None

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
        """The loss needs whole outputs; or, fused, of every token a maximum, and two sums."""
        if self.logits is not None:
            self._fused_loss(self.blocks[-1], self.logits)
            return
        if self.columns is None and not self.partial:
            return
        last = network.blocks[-1]
        if isinstance(last, Unit):
            self.add(Unit("loss", last.cost.outputs, ()), (), splits=False)
        else:
            self.add(Ending("loss", last.outputs), (), splits=False)

    def _fused_loss(self, output: Block, own: Rows) -> None:
        """Cross entropy of logits that stay split (Shoeybi et al. 2019, section 3)."""
        assert isinstance(output, Unit)
        steps: list[tuple[str, Operator, Crossing]] = [
            ("loss.maxima", LogitMaxima(own.known), WHOLE),
            ("loss.sums", LogitSums(own.first), Crossing("max")),
            ("loss", LogitLoss(own.size, own.first), Crossing("sum")),
        ]
        entering = output.cost.outputs
        for name, operator, crossing in steps:
            unit = Unit(name, entering, (operator,))
            self.crossings.append(crossing)
            self.blocks.append(unit)
            self.slices.append(())
            entering = unit.cost.outputs


def columns_of(total: int, split: Split, what: str) -> tuple[int, ...]:
    """So many of `what` for each member; `ScenarioError` if there are fewer than members."""
    if total < split.count:
        raise ScenarioError(f"{what} can't be split among {split.count} members; use {total} at most")
    cuts = bounds(total, split.count)
    return tuple(cuts[j + 1] - cuts[j] for j in range(split.count))


def rows_of(total: int, split: Split, what: str) -> Rows:
    """A member's rows of a vocabulary of so many; `ScenarioError` if there are fewer of `what` than members.

    With padding all members have as many, a multiple of `split.vocabulary`: the last ones may know none of them.
    """
    if split.vocabulary == 1:
        columns = Columns(columns_of(total, split, what))
        first, stop = columns.range(split.index, 1)
        return Rows(first, stop - first, stop - first)
    size = split.vocabulary * -(-total // (split.vocabulary * split.count))
    first = min(split.index * size, total)
    return Rows(first, min(size, total - first), size)
