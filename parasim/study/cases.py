"""One of several scenarios that are looked at together: a document, run when its turn comes, whose failure is a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parasim.errors import ScenarioError
from parasim.metrics.outcome import Outcome

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.reader import Tree

__all__ = ["Case", "failed", "kind_of_scheme"]


@dataclass(frozen=True, slots=True)
class Case:
    """A document that was not checked yet.

    Attributes
    ----------
    label
        What tells it from the others.
    tree
        The document; None if making it failed.
    variant
        Of which variant of the file.
    values
        What the keys of a sweep are set to in it.
    allow_code
        May the factory of a model of kind `module` be run?
    failure
        What making the document raised.
    """

    label: str
    tree: Tree | None
    variant: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    allow_code: bool = False
    failure: ScenarioError | None = None

    @property
    def scheme(self) -> str:
        """Kind of its scheme, as far as the document says."""
        return "-" if self.tree is None else kind_of_scheme(self.tree)

    def run(self) -> tuple[Outcome, Result | None]:
        """Check and simulate it; an error is an outcome too."""
        from parasim.scenario.load import scenario_of
        from parasim.study.simulate import simulate

        if self.tree is None:
            return failed(self, self.failure or ScenarioError("has no document")), None
        try:
            result = simulate(scenario_of(self.tree, self.variant, allow_code=self.allow_code))
        except Exception as error:  # whatever it is, the other rows go on
            return failed(self, error), None
        return Outcome(self.label, result.summary["scheme"], self.values, result.summary), result


def failed(case: Case, error: BaseException) -> Outcome:
    """The row of a case that could not be run: the first line of what was raised."""
    text = next(iter(str(error).strip().splitlines()), "")
    kind = type(error).__name__
    if not isinstance(error, ScenarioError):
        text = f"{kind}: {text}" if text else kind
    return Outcome(case.label, case.scheme, case.values, error=" ".join(text.split()), error_kind=kind)


def kind_of_scheme(tree: Tree) -> str:
    """What the document says under ``scheme: {kind: ...}``; "-" if it says none."""
    scheme = tree.data.get("scheme")
    return str(scheme["kind"]) if isinstance(scheme, dict) and "kind" in scheme else "-"
