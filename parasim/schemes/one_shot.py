"""One-shot averaging: SimuParallelSGD (Zinkevich, Weimer, Smola, Li 2010; SCHEMES S5).

Every worker trains a model of its own on its share of the data, from a common start, and never hears of the others; at
the end it sends the model to the server, which takes the mean. Each worker pushes P bytes in the whole run.
"""

from __future__ import annotations

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Exchange,
    HeldModel,
    Options,
    Program,
    Recv,
    Role,
    Scheme,
    Send,
    Setting,
    Taxonomy,
)
from parasim.program.elementwise import scale
from parasim.schemes.averaging import local_seconds
from parasim.schemes.collecting import Collected, collect
from parasim.schemes.pushing import packed_values

__all__ = ["OneShot"]


class OneShot(Scheme):
    """Data parallel, independent until the models are averaged once."""

    name = "one_shot"
    aliases = ("one_shot_averaging", "simuparallelsgd", "zinkevich")
    citation = "Zinkevich, Weimer, Smola, Li (2010)"
    taxonomy = Taxonomy("data parallel", "independent", "centralised", "models to a server, once", "model averaging")
    staleness = "0 with respect to the worker's own model; models drift apart for the whole run"
    approximates = "models averaged once, at the end"

    compresses = "values"
    prices_codes = True

    def roles(self) -> tuple[Role, ...]:
        """Workers, and the server that averages."""
        return (Role("worker", self.options.workers, self.worker), Role("server", 1, self.server))

    @classmethod
    def extra_actors(cls, options: Options) -> int:
        """The server."""
        return 1

    def worker(self, me: Context) -> Program[Buffer]:
        """Sequential SGD; then send the model."""
        replica, gradient = me.replica(), me.buffer("gradient")
        for step in me.steps():
            yield from me.gradient(replica.parameters, me.batch(step), gradient)
            yield from me.update(replica, gradient, read=replica.version)
            yield from me.step_done(step)
        sent, header = yield from packed_values(me, replica.parameters, {})
        yield from Send(me.ranks("server")[0], sent, "model", header, lent=True)
        return replica.parameters

    def server(self, me: Context) -> Program[Buffer]:
        """The mean of all models, added in the order of the workers."""
        workers = me.ranks("worker")
        collected = Collected()
        for message in (yield from Exchange((), tuple(Recv(worker, "model") for worker in workers))):
            yield from collect(me, collected, message, 0)
        assert collected.total is not None
        yield from me.math(scale, (collected.total,), factor=1 / len(workers))
        return collected.total

    def held_model(self) -> HeldModel:
        """The mean of all models."""
        return HeldModel(mean=True)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + T_update`` (SCHEMES S5.5); the model that is sent once is far from any step."""
        return ClosedForm(local_seconds(setting, 1), 0.0, 0.0, 0.0, "exact", note="P bytes are sent once, at the end")
