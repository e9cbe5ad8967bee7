"""Whatever a document says, it is read or refused in one line."""

import copy
import warnings
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from parasim.errors import ScenarioError, ScenarioWarning
from parasim.scenario import from_document
from tests.test_scenario_schema import EXAMPLE

DOCUMENT: dict[str, Any] = YAML(typ="safe").load(EXAMPLE)
KINDS = ("mlp", "cnn", "layers", "quadratic", "downpour", "adpsgd", "gpipe", "sequential", "gamma", "resampled", "adam")
KEYS = ("kind", "x", 3, True, "layers", "factors", "samples", "momentum", "servers", "micro_batches", "rows")
NUMBERS = (10**18, 10**19, -(10**99), 1e300, float("inf"), float("nan"), -1, 0, 0.5)
TEXTS = ("", "1 s", "1e30 B/s", "nan s", "\x1b[31m", "\ud800", "true", "x" * 300)
plain = st.one_of(st.none(), st.booleans(), st.sampled_from([*NUMBERS, *TEXTS, *KINDS]), st.integers(), st.floats())
anything = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all that a document holds."""
    inner = [place for key in value for place in places(value[key], (*path, key))] if isinstance(value, dict) else []
    return [path, *inner] if path else inner


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(places(DOCUMENT)), st.sampled_from((None, *KEYS)), anything), max_size=3))
def test_any_document(changes: list[tuple[tuple[Any, ...], Any, Any]]) -> None:
    document = copy.deepcopy(DOCUMENT)
    for path, key, value in changes:
        *above, last = path if key is None else (*path, key)
        at: Any = document
        for step in above:
            at = at.get(step) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[last] = value
    message = _refusal(document)
    assert "\n" not in message
    assert len(message) < 1000


def _refusal(document: dict[str, Any]) -> str:
    try:
        with warnings.catch_warnings(action="ignore", category=ScenarioWarning):  # of options without effect
            from_document(document)
    except ScenarioError as error:
        return str(error)
    return ""
