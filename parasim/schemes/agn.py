"""AGN: accumulated gradient normalisation (Hermans 2017, chapter 4; SCHEMES S12).

A worker takes lambda steps of its own, commits the mean of their gradients and fetches; a server applies what comes at
once. So however long a worker goes on alone, a commit is no larger than one step. Lambda 1 is Downpour.
"""

from __future__ import annotations

from parasim.program import Buffer, Context, Program, Setting, Taxonomy
from parasim.program.elementwise import scale
from parasim.schemes.asynchronous import Held
from parasim.schemes.dynsgd import LocalSteps, LocalStepsOptions

__all__ = ["Agn"]


class Agn(LocalSteps):
    """Data parallel, asynchronous, centralised; a worker commits the mean of its last gradients."""

    name = "agn"
    aliases = ("accumulated_gradient_normalization",)
    citation = "Hermans (2017); Hermans, Spanakis, Moeckel (2017)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "mean N-1, in commits of lambda steps each, any speeds"
    approximates = "stale means of local steps"
    Options = LocalStepsOptions

    def commit(self, me: Context, parameters: Buffer, held: Held, pushed: Buffer, fetch: bool) -> Program[None]:
        """Push the sum of the gradients over lambda, and fetch with it."""
        if self.n_push > 1:
            yield from me.math(scale, (pushed,), factor=1 / self.n_push)
        yield from self.talk(me, parameters, held, pushed, fetch)

    def local_seconds(self, setting: Setting) -> float:
        """Accumulating, and scaling once per commit."""
        seconds = super().local_seconds(setting)
        if self.n_push > 1:
            seconds += setting.place.seconds(setting.math_kernel(scale, factor=1 / self.n_push)) / self.n_push
        return seconds
