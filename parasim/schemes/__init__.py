"""The schemes: one algorithm per file. A new scheme is one new file and one line in `SCHEMES`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from parasim.errors import ScenarioError
from parasim.program.scheme import Scheme
from parasim.schemes.accumulation import Accumulation
from parasim.schemes.adag import Adag
from parasim.schemes.adpsgd import AdPsgd
from parasim.schemes.agn import Agn
from parasim.schemes.allreduce import AllReduce
from parasim.schemes.asysvrg import AsySvrg
from parasim.schemes.backup_workers import BackupWorkers
from parasim.schemes.bmuf import Bmuf
from parasim.schemes.codistillation import Codistillation
from parasim.schemes.compute_groups import ComputeGroups
from parasim.schemes.dcasgd import DcAsgd
from parasim.schemes.ddg import Ddg
from parasim.schemes.dni import Dni
from parasim.schemes.downpour import Downpour
from parasim.schemes.dpsgd import DPsgd
from parasim.schemes.dynsgd import DynSgd
from parasim.schemes.easgd import Eamsgd, Easgd
from parasim.schemes.ensemble import Ensemble
from parasim.schemes.fdg import Fdg
from parasim.schemes.fdg_data import FdgData
from parasim.schemes.fr import FeaturesReplay
from parasim.schemes.gpipe import GPipe
from parasim.schemes.grid import Grid
from parasim.schemes.hierarchical_sgd import HierarchicalSgd
from parasim.schemes.hogbatch import HogBatch
from parasim.schemes.hogwild import Hogwild
from parasim.schemes.interleaved import Interleaved
from parasim.schemes.k_async import KAsync, KBatchAsync
from parasim.schemes.k_sync import KBatchSync, KSync
from parasim.schemes.layerwise import Layerwise
from parasim.schemes.local_sgd import LocalSgd
from parasim.schemes.one_shot import OneShot
from parasim.schemes.one_weird_trick import OneWeirdTrick
from parasim.schemes.osgp import OverlapSgp
from parasim.schemes.parameter_server import ParameterServer
from parasim.schemes.pipe_sgd import PipeSgd
from parasim.schemes.pipedream import PipeDream
from parasim.schemes.pipedream_2bw import PipeDream2BW
from parasim.schemes.pipedream_flush import PipeDreamFlush
from parasim.schemes.pipelined_backprop import PipelinedBackprop
from parasim.schemes.population_based_training import PopulationBasedTraining
from parasim.schemes.sequential import Sequential
from parasim.schemes.sgp import Sgp
from parasim.schemes.softsync import Softsync
from parasim.schemes.spectrain import SpecTrain
from parasim.schemes.ssp import Ssp
from parasim.schemes.successive_halving import SuccessiveHalving
from parasim.schemes.tensor_parallel import TensorParallel
from parasim.schemes.three_d import ThreeD
from parasim.schemes.zero import Zero
from parasim.schemes.zero_bubble import ZeroBubble

__all__ = ["NAMES", "SCHEMES", "Names", "find"]

SCHEMES: dict[str, type[Scheme]] = {
    scheme.name: scheme
    for scheme in (
        Sequential,
        AllReduce,
        Downpour,
        Ssp,
        Softsync,
        DcAsgd,
        ComputeGroups,
        DynSgd,
        Agn,
        Adag,
        AdPsgd,
        DPsgd,
        Sgp,
        OverlapSgp,
        HierarchicalSgd,
        Hogwild,
        HogBatch,
        AsySvrg,
        ParameterServer,
        BackupWorkers,
        KBatchSync,
        KSync,
        KAsync,
        KBatchAsync,
        LocalSgd,
        Bmuf,
        OneShot,
        Ensemble,
        Codistillation,
        PopulationBasedTraining,
        SuccessiveHalving,
        PipeSgd,
        Accumulation,
        Eamsgd,
        Easgd,
        GPipe,
        TensorParallel,
        Grid,
        OneWeirdTrick,
        ThreeD,
        Ddg,
        FeaturesReplay,
        Fdg,
        FdgData,
        Dni,
        Layerwise,
        PipeDreamFlush,
        Interleaved,
        ZeroBubble,
        Zero,
        PipelinedBackprop,
        PipeDream,
        PipeDream2BW,
        SpecTrain,
    )
}


class Names(Mapping[str, type[Scheme]]):
    """Schemes by name and by alias, however they are written: only letters and digits count, in either case.

    So "AD-PSGD", "ad_psgd" and "adpsgd" are one, and "Hogwild!" is found.
    """

    def __init__(self, schemes: Mapping[str, type[Scheme]]) -> None:
        self._words = {word: scheme for scheme in schemes.values() for word in (*scheme.aliases, scheme.name)}
        self._plain = {_plain(word): word for word in self._words}

    def __getitem__(self, word: str) -> type[Scheme]:
        return self._words[self._plain[_plain(word)]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def preset(self, word: str) -> Mapping[str, Any]:
        """The options that an alias stands for beside the scheme."""
        return self[word].presets.get(self._plain[_plain(word)], {})


def _plain(word: str) -> str:
    """What counts of a name."""
    return re.sub(r"[\W_]", "", word.casefold())


NAMES = Names(SCHEMES)


def find(word: str) -> type[Scheme]:
    """The scheme of this name or alias.

    Raises
    ------
    ScenarioError
        If there is none; the message lists the names.
    """
    if word in NAMES:
        return NAMES[word]
    close = difflib.get_close_matches(word, list(NAMES), 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ScenarioError(f"no scheme {word!r}{hint}; there are {', '.join(SCHEMES)}")
