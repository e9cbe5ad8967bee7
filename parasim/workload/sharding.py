"""Networks split inside their blocks: what each member of a group computes, and what members exchange in between.

By outputs (DistBelief's partitions, Krizhevsky's columns; SCHEMES S22, 2a): every block with weights is cut into
columns of its outputs (neurons, channels); members gather the columns, so that all inputs are known to all. In pairs
(Shoeybi et al. 2019, Megatron-LM; S22, 2b): of two blocks (or two linear operators of one unit) the first is cut by
outputs and the second by inputs, an attention by heads; members sum the outputs. What is cheap (normalisations,
residual additions, biases after a sum, embeddings) every member repeats. Along the vocabulary (section 3 there): of
token vectors and of an output layer over tokens every member has some rows; logits stay split, and of each token only
the largest, the sum of exponentials and the target's go round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from parasim.errors import ScenarioError
from parasim.program.model import Model
from parasim.program.shards import Crossing, Shard, Split
from parasim.workload.blocks import Convolution, Dense, Network
from parasim.workload.operators import Embedding, Linear, TiedLinear
from parasim.workload.segments import Columns, Segments, Slice, columns_of
from parasim.workload.ties import tie_of
from parasim.workload.unit import Unit
from parasim.workload.unit_sharding import split_unit

__all__ = ["SplitNetwork", "make_shard", "split_network"]


@dataclass(frozen=True, slots=True)
class SplitNetwork:
    """The segments as a network, where their parameters come from, the crossings, and the blocks' first segments."""

    network: Network
    slices: tuple[tuple[Slice, ...], ...]
    crossings: tuple[Crossing, ...]
    cuts: tuple[int, ...]


def make_shard(network: Network, whole: Model, split: Split) -> Shard:
    """Costs of a shard of a network whose whole costs are `whole`.

    Raises
    ------
    ValueError
        As :func:`split_network`.
    """
    found = split_network(network, split)
    layers, tie = found.network.layers(apart=True), tie_of(found.network)
    model = replace(whole, layers=layers, splitter=None, piece=split, tie=tie, untie=None)
    return Shard(split, model, found.crossings, found.cuts)


def split_network(network: Network, split: Split) -> SplitNetwork:
    """What member `split.index` of `split.count` computes of a network.

    Raises
    ------
    ScenarioError
        If a block can't be split so.
    """
    blocks = network.blocks
    made = Segments(split)
    for number, block in enumerate(blocks):
        made.cuts.append(len(made.blocks))
        if number < split.start:
            made.whole(number, block)
        elif isinstance(block, Unit):
            split_unit(made, number, block, number == len(blocks) - 1 and _gives_logits(network, split))
        elif isinstance(block, (Dense, Convolution)):
            _split_block(made, number, block)
        else:
            raise ScenarioError(f"{block.name} of model {network.name} is one point and can't be split among members")
    made.end(network)
    made.cuts.append(len(made.blocks))
    segments = replace(network, blocks=tuple(made.blocks))
    return SplitNetwork(segments, tuple(made.slices), tuple(made.crossings), tuple(made.cuts))


def _gives_logits(network: Network, split: Split) -> bool:
    """Does a network on tokens end in a linear layer over each, which is to be split along the vocabulary?"""
    first, last = network.blocks[0], network.blocks[-1]
    if not split.vocabulary or not isinstance(first, Unit) or not isinstance(last, Unit):
        return False
    on_tokens = isinstance(first.operators[0], Embedding) and len(last.cost.outputs) == 2
    return on_tokens and isinstance(last.operators[-1], (Linear, TiedLinear))


def _split_block(made: Segments, number: int, block: Dense | Convolution) -> None:
    """By outputs; in pairs, by inputs if the block before gave columns."""
    split = made.split
    channels = block.inputs if isinstance(block, Dense) else block.channels_in
    if split.how == "pairs" and made.columns is not None:
        each = channels // sum(made.columns.channels)
        first, stop = made.columns.range(split.index, each)
        size = stop - first
        part = replace(block, inputs=size) if isinstance(block, Dense) else replace(block, channels_in=size)
        made.add(part, [Slice(number, 0, 1, ((first, stop),))], splits=False, continues=True)
        made.partial = True
        return
    total = block.outputs if isinstance(block, Dense) else block.channels_out
    columns = Columns(columns_of(total, split, f"the {total} outputs of {block.name}"), block.outputs // total)
    mine = columns.range(split.index, 1)
    size = mine[1] - mine[0]
    part = replace(block, outputs=size) if isinstance(block, Dense) else replace(block, channels_out=size)
    made.add(part, [Slice(number, 0, 0, (mine,))], splits=True)
    made.columns = columns
