"""What tests of schemes that split layers share: the whole model's parameters from those of its shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parasim import Scenario
from parasim.program.shards import How, Split

TEXT = {"kind": "characters", "sequence": 8}
TRANSFORMER = {"kind": "gpt", "layers": 2, "hidden": 16, "heads": 4, "tied": False}


def whole_of(scenario: Scenario, vectors: Sequence[Any], how: How, start: int = 0) -> Any:
    """The parameters whose shards the members of one group hold; what several hold must be equal in every bit."""
    import torch

    from parasim.learning.segments import sliced
    from parasim.workload import build_data
    from parasim.workload.models import build_network
    from parasim.workload.sharding import split_network

    work = scenario.workload
    assert work.data_kind is not None
    network = build_network(work.model_kind, work.model_options, build_data(work.data_kind, work.data_options))
    offsets = work.model.offsets
    whole = torch.full((offsets[-1],), torch.nan, dtype=torch.float64)
    for index, vector in enumerate(vectors):
        values, place = torch.as_tensor(vector, dtype=torch.float64), 0
        rows = getattr(scenario.scheme.options, "vocabulary_multiple", 0) if how == "pairs" else 0
        for slices in split_network(network, Split(how, index, len(vectors), start, rows)).slices:
            for where in slices:
                first, stop = offsets[where.block], offsets[where.block + 1]
                places = first + sliced(network, where, torch.arange(stop - first)).reshape(-1)
                mine = values[place : place + len(places)]
                known = ~whole[places].isnan()
                assert torch.equal(whole[places][known], mine[known]), "copies of one parameter differ"
                whole[places] = mine
                place += len(places)
                assert not values[place : place + where.padding].any(), "padding that was trained"
                place += where.padding
        assert place == len(values), "parameters that come from nowhere"
    assert not whole.isnan().any(), "parameters that nobody has"
    return whole
