"""Casts that say how a rank starts; run in ranks, so nothing here knows pytest."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from calibration.executor.setup import Setup, from_scenario
from parasim.program.cast import Role
from parasim.program.context import Context
from parasim.program.ops import Program, Sleep
from tests.real_programs import setup


def imports(document: Mapping[str, Any]) -> Setup:
    """Its one actor returns the names of the modules that a rank imports to set up this scenario."""
    before = set(sys.modules)
    from_scenario(document, "document", "real")
    late = " ".join(sorted(set(sys.modules) - before))

    def worker(me: Context) -> Program[str]:
        yield from Sleep(0.0)
        return late

    return setup(Role("worker", 1, worker))
