"""What the schemes of decoupled modules have in common: memory, and the outcomes that their scenarios expect."""

import pytest

from parasim.learning.build import pin_threads
from parasim.metrics.memory import course_of, tensors_of
from parasim.trace.parts import PARTS
from tests.decoupled_setup import LEARNING, golden
from tests.schemes_setup import but_messages, make, run

KINDS = ("ddg", "fr", "fdg")


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def peaks(result, rank):
    course = course_of(result.trace, rank)
    return {part: most for part in PARTS if (most := max(held.bytes_of[part] for held in course))}


@pytest.mark.parametrize("modules", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_by_part_is_its_closed_form(kind, modules):
    """DDG: K - k mini-batches and versions; replay: the inputs of as many; FDG: 2 (K - 1 - k) + 1 of both."""
    settings = {"batch": 16, "steps": 14, "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.9}}
    scenario, result = make(kind, modules, **settings), run(kind, modules, **settings)
    scheme, model = scenario.scheme, scenario.workload.model
    delays = {"ddg": [modules - 1 - k for k in range(modules)], "fr": [0] * modules}
    delays["fdg"] = [2 * delay for delay in delays["ddg"]]
    for k, part in enumerate(scheme.parts(model)):
        found, delay = peaks(result, k), delays[kind][k]
        assert but_messages(found) == scheme.holding(k, 16).with_state(1).bytes_of(part)
        assert found.get("stashed versions", 0) == delay * part.nbytes
        one = 16 * 4 * part.stored_elements
        inputs = (modules - k) * 16 * 4 * part.input_elements if kind == "fr" and 0 < k < modules - 1 else 0
        assert found["activations"] == (delay + 1) * one + inputs


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_to_be_held_equals_the_tensors_note_by_note(kind):
    trace = run(kind, 3, **{**LEARNING, "steps": 7}).trace
    for rank in range(3):
        said = course_of(trace, rank)
        assert said == tensors_of(trace, rank)
        assert said[-1].bytes_of["activations"] == said[-1].bytes_of["stashed versions"] == 0


# scenarios -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "speedups"), [("ddg", (1.5, 1.8, 2)), ("fr", (1.2, 1.5, 12 / 7)), ("fdg", (2, 3, 4))])
def test_speedups_that_scenarios_expect(name, speedups):
    """Start and end of 40 steps, updates and transfers take a few per cent; of FDG, with its long delays, more."""
    seconds = golden(name, "seconds_per_step")
    for modules, speedup in zip((2, 3, 4), speedups, strict=True):
        found = seconds["one machine"] / seconds[f"{modules} modules"]
        assert (0.92 if name == "fdg" else 0.97) * speedup < found <= speedup
    if name != "fr":
        assert seconds["4, one slow"] > 1.4 * seconds["4 modules"]
        assert seconds["4, one slow with less to do"] < 0.75 * seconds["4, one slow"]
        assert seconds["4, slow links"] > 1.1 * seconds["4 modules"]
    if name == "ddg":
        assert 2.7 < seconds["one machine"] / seconds["4, early"] < 3


def test_memory_that_scenarios_expect():
    held = golden("fr", "memory_bytes_per_worker")
    assert held["4 modules"] < 0.6 * held["4 modules, DDG"]


def test_convergence_that_scenarios_expect():
    last = {variant: loss["last"] for variant, loss in golden("decoupled", "loss").items()}
    assert last["back-propagation"] < last["features replay"] < last["FDG"]
    assert last["back-propagation"] < last["DDG"] < last["FDG"]
    assert last["FDG, shrinking"] < 0.7 * last["FDG"]
