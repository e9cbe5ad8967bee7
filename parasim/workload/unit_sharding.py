"""Units of operators split among members: by outputs, in pairs, or, where a unit is given columns, by inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parasim.errors import ScenarioError
from parasim.workload.costs import cost_of, elements
from parasim.workload.operators import (
    Activate,
    Attention,
    AttentionHeads,
    BatchNorm,
    Bias,
    Conv,
    Embedding,
    EmbeddingRows,
    Flatten,
    Fork,
    GlobalPool,
    Join,
    Linear,
    Operator,
    Pool,
    Residual,
    Shape,
    TiedLinear,
)
from parasim.workload.segments import Columns, Segments, Slice, columns_of, rows_of
from parasim.workload.unit import Unit

__all__ = ["split_unit"]


@dataclass(frozen=True, slots=True)
class _Item:
    """An operator of a unit, the shape that enters it, and the number of its first parameter in the unit."""

    operator: Operator
    entering: Shape
    first: int

    @property
    def leaving(self) -> Shape:
        return cost_of((self.operator,), self.entering).outputs

    def slices(self, block: int) -> list[Slice]:
        """All of its parameters."""
        count = len(cost_of((self.operator,), self.entering).parameters)
        return [Slice(block, self.first + number) for number in range(count)]


_BY_CHANNEL = (Activate, BatchNorm, Flatten, GlobalPool, Pool)
"""Operators that treat every channel by itself, so that members can apply them to their own."""


def _items(operators: Sequence[Operator], entering: Shape, first: int = 0) -> list[_Item]:
    """Operators one by one; a residual around its inputs as a fork, its body and a join."""
    found: list[_Item] = []
    for operator in operators:
        cost = cost_of((operator,), entering)
        if isinstance(operator, Residual) and not operator.shortcut and not _holds_residual(operator.body):
            body = _items(operator.body, entering, first)
            found += [_Item(Fork(), entering, first), *body, _Item(Join(), cost.outputs, first)]
        else:
            found.append(_Item(operator, entering, first))
        first += len(cost.parameters)
        entering = cost.outputs
    return found


def _holds_residual(operators: Sequence[Operator]) -> bool:
    return any(isinstance(operator, Residual) for operator in operators)


def _splits(item: _Item) -> bool:
    operator = item.operator
    return isinstance(operator, Linear) or (isinstance(operator, Conv) and operator.groups == 1)


def _run(items: Sequence[_Item], first: int, wanted: Callable[[_Item], bool]) -> int:
    """The end of the run of such items that begins at `first`."""
    while first < len(items) and wanted(items[first]):
        first += 1
    return first


def _by_channel(item: _Item) -> bool:
    return isinstance(item.operator, _BY_CHANNEL)


def _pairs(items: Sequence[_Item]) -> bool:
    """Does a unit hold an attention, or two linear operators with nothing but functions of channels between?"""
    for place, item in enumerate(items):
        if isinstance(item.operator, Attention):
            return True
        if _splits(item):
            after = _run(items, place + 1, _by_channel)
            if after < len(items) and _splits(items[after]):
                return True
    return False


def split_unit(made: Segments, number: int, unit: Unit, logits: bool = False) -> None:
    """Make the segments of a unit; what is between its split operators is repeated by every member.

    `logits`: its last operator gives those of tokens, and is split along the vocabulary.

    Raises
    ------
    ScenarioError
        If it can't be split so.
    """
    writer = _Writer(made, number, unit.name)
    items = _items(unit.operators, unit.entering)
    pairs = made.split.how == "pairs"
    if not pairs and (_pairs(items) or any(isinstance(item.operator, Fork) for item in items)):
        raise ScenarioError(f"{unit.name} is more than one layer and can't be split by outputs alone; use split: pairs")
    output = items.pop() if logits else None
    place = _run(items, 0, _by_channel)
    if pairs and made.columns is not None and place < len(items) and _splits(items[place]):
        writer.by_inputs(items[:place], items[place])
        place += 1
    else:
        place = 0
    while place < len(items):
        item = items[place]
        if pairs and isinstance(item.operator, Attention):
            writer.attention(item)
            place += 1
        elif made.split.vocabulary and isinstance(item.operator, Embedding):
            writer.embedding(item)
            place += 1
        elif _splits(item):
            after = _run(items, place + 1, _by_channel)
            if pairs and after < len(items) and _splits(items[after]):
                writer.pair(items[place : after + 1])
                after += 1
            else:
                writer.by_outputs(items[place:after])
            place = after
        else:
            writer.repeat(item)
            place += 1
    if output is not None:
        writer.logits(output)
    writer.flush()


class _Writer:
    """Writes the segments of one unit."""

    def __init__(self, made: Segments, number: int, name: str) -> None:
        self._made = made
        self._split = made.split
        self._number = number
        self._name = name
        self._waiting: list[_Item] = []
        self._bias: list[tuple[Bias, Shape, Slice]] = []
        self._written = 0

    def repeat(self, item: _Item) -> None:
        """An operator of which every member does all."""
        self._waiting.append(item)

    def flush(self) -> None:
        """What is repeated, as a segment."""
        if not self._waiting and not self._bias:
            return
        operators: list[Operator] = []
        slices: list[Slice] = []
        entering = self._bias[0][1] if self._bias else self._waiting[0].entering
        for bias, _, where in self._bias:
            operators.append(bias)
            slices.append(where)
        for item in self._waiting:
            operators.append(item.operator)
            slices += item.slices(self._number)
        self._waiting, self._bias = [], []
        self._add(entering, operators, slices, splits=False)

    def attention(self, item: _Item) -> None:
        """Some heads each; the projections of queries, keys and values lie one after the other."""
        whole = item.operator
        assert isinstance(whole, Attention)
        self.flush()
        width = item.entering[1] // whole.heads
        heads = Columns(columns_of(whole.heads, self._split, f"the {whole.heads} heads of {self._name}"))
        mine = heads.range(self._split.index, width)
        thirds = tuple((start + mine[0], start + mine[1]) for start in range(0, 3 * item.entering[1], item.entering[1]))
        slices = [Slice(self._number, item.first, 0, thirds)]
        if whole.bias:
            slices.append(Slice(self._number, item.first + 1, 0, thirds))
        slices.append(Slice(self._number, item.first + len(slices), 1, (mine,)))
        part = AttentionHeads(heads.channels[self._split.index], width, whole.causal, whole.bias)
        self._add(item.entering, [part], slices, splits=True)
        self._made.partial = True
        if whole.bias:
            self._bias.append((Bias(), item.entering, Slice(self._number, item.first + len(slices))))

    def embedding(self, item: _Item) -> None:
        """Rows of the table each; the sum is the embedding."""
        whole = item.operator
        assert isinstance(whole, Embedding)
        self.flush()
        rows = rows_of(whole.entries, self._split, f"the {whole.entries} token vectors of {self._name}")
        slices = [rows.slice_of(where, whole.width) for where in item.slices(self._number)]
        self._add(item.entering, [EmbeddingRows(rows.size, whole.width, rows.first)], slices, splits=False)
        self._made.partial = True

    def logits(self, item: _Item) -> None:
        """The logits of one's own kinds of tokens, which stay there."""
        whole = item.operator
        assert isinstance(whole, (Linear, TiedLinear))
        self.flush()
        rows = rows_of(whole.outputs, self._split, f"the {whole.outputs} kinds of tokens that {self._name} tells apart")
        listed = cost_of((whole,), item.entering).parameters
        slices = [
            rows.slice_of(where, elements(parameter.shape[1:]))
            for where, parameter in zip(item.slices(self._number), listed, strict=True)
        ]
        self._add(item.entering, [replace(whole, outputs=rows.size)], slices, splits=True)
        self._made.logits = rows

    def by_outputs(self, items: Sequence[_Item]) -> None:
        """An operator with weights, and functions of channels after it, on some of the channels."""
        before: list[_Item] = []
        if not self._bias and all(_by_channel(item) and not item.slices(self._number) for item in self._waiting):
            before, self._waiting = self._waiting, []  # they need no segment of their own
        self.flush()
        columns = self._columns(items[0])
        operators, slices = self._sliced(items, columns)
        operators = [item.operator for item in before] + operators
        self._add((*before, *items)[0].entering, operators, slices, splits=True)
        leaving = items[-1].leaving
        rows = leaving[0] if len(leaving) == 2 else 1
        self._made.columns = replace(columns, size=elements(leaving) // rows // sum(columns.channels), rows=rows)

    def pair(self, items: Sequence[_Item]) -> None:
        """By outputs, then by inputs."""
        self.flush()
        columns = self._columns(items[0])
        operators, slices = self._sliced(items[:-1], columns)
        last, more = self._by_inputs(items[-1], columns)
        self._add(items[0].entering, [*operators, last], [*slices, *more], splits=True)
        self._made.partial = True

    def by_inputs(self, before: Sequence[_Item], item: _Item) -> None:
        """The first operator with weights of a unit that is given columns."""
        columns = self._made.columns
        assert columns is not None
        operators, slices = self._sliced(before, columns)
        last, more = self._by_inputs(item, columns)
        first = before[0].entering if before else item.entering
        entering = _narrowed(first, columns, self._split.index)
        self._add(entering, [*operators, last], [*slices, *more], splits=False, continues=True)
        self._made.partial = True

    def _columns(self, item: _Item) -> Columns:
        operator = item.operator
        assert isinstance(operator, (Linear, Conv))
        return Columns(columns_of(operator.outputs, self._split, f"the {operator.outputs} outputs of {self._name}"))

    def _sliced(self, items: Sequence[_Item], columns: Columns) -> tuple[list[Operator], list[Slice]]:
        """Operators on this member's channels."""
        operators: list[Operator] = []
        slices: list[Slice] = []
        mine = columns.range(self._split.index, 1)
        for item in items:
            operator = item.operator
            if isinstance(operator, (Linear, Conv)):
                operator = replace(operator, outputs=mine[1] - mine[0])
            operators.append(operator)
            slices += [replace(where, ranges=(mine,)) for where in item.slices(self._number)]
        return operators, slices

    def _by_inputs(self, item: _Item, columns: Columns) -> tuple[Operator, list[Slice]]:
        """An operator on this member's inputs; its bias is added when the parts are summed."""
        operator = item.operator
        assert isinstance(operator, (Linear, Conv))
        width = item.entering[0] if isinstance(operator, Conv) else item.entering[-1]
        mine = columns.range(self._split.index, width // sum(columns.channels))
        if operator.bias:
            self._bias.append((Bias(), item.leaving, Slice(self._number, item.first + 1)))
        return replace(operator, bias=False), [Slice(self._number, item.first, 1, (mine,))]

    def _add(
        self,
        entering: Shape,
        operators: Sequence[Operator],
        slices: Sequence[Slice],
        *,
        splits: bool,
        continues: bool = False,
    ) -> None:
        name = f"{self._name}.{self._written}" if self._written else self._name
        self._written += 1
        unit = Unit(name, entering, tuple(operators))
        self._made.add(unit, slices, splits=splits, continues=continues)


def _narrowed(shape: Shape, columns: Columns, index: int) -> Shape:
    """The shape of a member's channels of an array: images and vectors have theirs first, sequences last."""
    place = len(shape) - 1 if len(shape) == 2 else 0
    each = shape[place] // sum(columns.channels)
    changed: Any = list(shape)
    changed[place] = columns.channels[index] * each
    return tuple(changed)
