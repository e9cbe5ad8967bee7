"""All cases of the conformance suite, by name."""

from tests.conformance import lanes, messages, shards, together
from tests.conformance.stage import Case

CASES: dict[str, Case] = {**messages.CASES, **lanes.CASES, **together.CASES, **shards.CASES}
