"""The one object that a role's program receives. Nothing else is in reach of a scheme."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from parasim.errors import ProgramError
from parasim.program.batches import Batches
from parasim.program.buffers import Buffer, bounds
from parasim.program.compressor import Compression
from parasim.program.contents import Contents
from parasim.program.draws import Draws
from parasim.program.elementwise import add, clear, copied
from parasim.program.gradients import do_backward, do_forward, initial_values, zero_values
from parasim.program.groups import Group
from parasim.program.kernels import backward_kernel, counted_of, forward_kernel, update_function, wrapped
from parasim.program.layout import panels
from parasim.program.learner import Learner, Optimizer
from parasim.program.model import Model, Part
from parasim.program.ops import Compute, Event, Log, Program
from parasim.program.shared import Shared
from parasim.program.snapshots import Watcher
from parasim.program.state import Activation, Batch, Ledger, Replica, held_note
from parasim.program.tensors import Tensor, Tensors

__all__ = ["Context"]

_NOTHING: Mapping[str, float] = {}
_Made = TypeVar("_Made")


class Context:
    """What a program may use.

    Attributes
    ----------
    rank, role, index
        Global rank; name of the role; index in the role.
    options
        The scheme's options.
    model
        Layers, parts and their costs.
    batch_size, batches
        Samples per worker (per pipeline) of the first step, and of each.
    draws, common, compression
        Keyed random draws: this actor's, and those all share; how what it sends is compressed (None: not at all).
    """

    def __init__(
        self,
        *,
        rank: int,
        role: str,
        index: int,
        groups: Mapping[str, Group],
        options: Any,
        model: Model,
        batch_size: int,
        steps: int,
        seed: int,
        optimizer: Optimizer,
        learner: Learner | None = None,
        shared: Sequence[Shared] = (),
        compression: Compression | None = None,
        batches: Batches | None = None,
        contents: Contents | None = None,
        weighs: bool = True,
    ) -> None:
        self.rank = rank
        self.role = role
        self.index = index
        self.options = options
        self.model = model
        self.batch_size, self.batches = batch_size, batches or Batches((batch_size,))
        self.num_steps = steps
        self.draws = Draws(seed, self.role, self.index)
        self.common = Draws(seed)
        self.optimizer = optimizer
        self.compression = compression
        self.member = 0  # of several models, the one that it trains: see `Learner.member`
        self.notes: list[Event] = []  # drained by the runtime at the next operation
        self._groups = groups
        self._learner = learner
        self._contents = contents
        self._ledger = Ledger() if weighs and learner is not None else None  # None: nobody asks what tensors take
        self._replicas: list[Replica] = []
        self._shared = {vector.name: vector for vector in shared}
        self._kept: dict[Hashable, Any] = {}
        self.watcher = Watcher()  # a camera where the model is evaluated while it is trained

    # who -----------------------------------------------------------------------------------------------------------
    def group(self, name: str) -> Group:
        """A declared group; every role is one. `ProgramError` if there is none of this name."""
        if name not in self._groups:
            raise ProgramError(f"no group {name!r}; there are {', '.join(self._groups)}")
        return self._groups[name]

    def count(self, role: str) -> int:
        """Number of actors in a role (0 if there is no such role)."""
        return len(self.ranks(role))

    def ranks(self, role: str) -> tuple[int, ...]:
        """Global ranks of a role, by index."""
        return self._groups[role].ranks if role in self._groups else ()

    def shared(self, name: str) -> Shared:
        """A declared shared vector. `ProgramError` if there is none of this name."""
        if name not in self._shared:
            raise ProgramError(f"no shared vector {name!r}; the scheme declares {', '.join(self._shared) or 'none'}")
        return self._shared[name]

    @property
    def tensors(self) -> Tensors | None:
        """For runtimes: the tensor namespace, or None if no values are carried. Programs use :meth:`math`."""
        return None if self._learner is None else self._learner.tensors

    def work(self, function: Callable[[Learner], Any]) -> Callable[[], Any] | None:
        """For programs of the language: what a compute does with the learner; None if no values are carried."""
        learner = self._learner
        return None if learner is None else lambda: function(learner)

    def shared_values(self, shared: Shared) -> Tensor:
        """For runtimes: the initial values of a shared vector (only if values are carried)."""
        assert self._learner is not None
        xp = self._learner.tensors
        return xp.copy(self._learner.initial(self.model.whole)) if shared.initial else xp.zeros(shared.elements)

    # what ----------------------------------------------------------------------------------------------------------
    def steps(self) -> range:
        """The iterations of a worker."""
        return range(self.num_steps)

    def batch(
        self, step: int, *, share: int | None = None, shares: int | None = None, micro: int = 0, micros: int = 1
    ) -> Batch:
        """The samples of one worker's (one pipeline's) share of iteration `step`, or of one of its micro-batches.

        By default the share is this actor's index among the actors of its role (SCHEMES 0.5).
        """
        share = self.index if share is None else share
        shares = self.count(self.role) if shares is None else shares
        size, shift = self.batches.size(step), shares * self.batches.shift(step)
        cuts = (0, size) if micros == 1 else bounds(size, micros)
        first = share * size
        return Batch(step, micro, first + cuts[micro], first + cuts[micro + 1], shares * size, shift=shift)

    def labels(self, batch: Batch) -> Buffer:
        """What the samples of a batch should give, as many numbers per sample as the model has outputs.

        Of classes: a one for the right one, zeros for the others. Not held: labels are part of the data.
        """
        values = None
        if self._learner is not None:
            learner = self._learner
            values = learner.labels(learner.samples(batch.step, batch.start, batch.stop, batch.total))
        elements = batch.size * self.model.whole.output_elements
        return Buffer("labels", elements, self.model.itemsize, values)

    def buffer(self, name: str, elements: int | None = None, itemsize: int | None = None) -> Buffer:
        """A zero buffer (default: as large as the model's parameters), held until :meth:`release`; 1: of bytes."""
        elements = self.model.whole.parameters if elements is None else elements
        values = zero_values(self._learner, self._contents, elements, itemsize or self.model.itemsize)
        buffer = Buffer(name, elements, itemsize or self.model.itemsize, values)
        self.hold(name, buffer.nbytes, buffer)
        return buffer

    def kept(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """What is made when it is first asked for by this key, and kept."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[no-any-return]

    def initial(self, name: str = "weights", part: Part | None = None) -> Buffer:
        """Initial parameters of a part (default: the whole model): the same values on every rank and for every cut."""
        part = part or self.model.whole
        values = initial_values(self._learner, self._contents, part, self.member)
        buffer = Buffer(name, part.parameters, self.model.itemsize, values)
        self.hold(name, buffer.nbytes, buffer)
        self.watcher.offer(buffer, part, name)
        return buffer

    def shard(self, name: str, elements: tuple[int, int], part: Part | None = None) -> Buffer:
        """Initial parameters of a range of a part's (default: the whole model's) elements: a server's shard."""
        whole, (start, stop) = self.initial(name, part), elements
        self.watcher.withdraw(whole)
        self.release(name, whole.nbytes, whole)
        values = None if self._learner is None else whole.part(start, stop).share(self._learner.tensors)
        shard = Buffer(name, stop - start, whole.itemsize, values)
        self.hold(name, shard.nbytes, shard)
        self.watcher.offer(shard, start, name)
        return shard

    def replica(
        self, part: Part | None = None, elements: tuple[int, int] | None = None, per_step: float = 1.0
    ) -> Replica:
        """A parameter copy at version 0 with optimiser state: of a part, or of a range (a server's shard).

        It gets `per_step` updates per step.
        """
        parameters = self.initial("weights", part) if elements is None else self.shard("weights", elements, part)
        slots = tuple(self.buffer("optimizer state", parameters.elements) for _ in self.optimizer.slots)
        arrays = panels(part or self.model.whole, elements) if self.optimizer.layerwise else None
        replica = Replica(parameters, slots, per_step=per_step, panels=arrays)
        self.watcher.offer(replica, elements[0] if elements else part or self.model.whole)
        self._replicas.append(replica)  # when its program is over others still find there what they have alike
        return replica

    def hold(self, label: str, nbytes: int, what: Any = None) -> None:
        """Note that so many bytes of `label` are held from now on (parasim/trace/parts.py: parts of memory by label).

        With `what` holds them (buffers, or what a pass saved), its tensors are counted beside, each block of memory
        once; the same goes to :meth:`release`.
        """
        if what is None or self._learner is None or self._ledger is None:
            self.notes.append(held_note("hold", label, nbytes))
            return
        counted = float(self._ledger.hold(self._ledger.kept(what, self._learner.blocks)))
        self.notes.append(Event("hold", label, nbytes=nbytes, value=counted))

    def release(self, label: str, nbytes: int, what: Any = None) -> None:
        """Note that they are not held any more."""
        if what is None or self._learner is None or self._ledger is None:
            self.notes.append(held_note("release", label, nbytes))
            return
        counted = float(self._ledger.release(self._ledger.left(what, self._learner.blocks)))
        self.notes.append(Event("release", label, nbytes=nbytes, value=counted))

    def give_up(self, label: str, buffer: Buffer) -> None:
        """Release a buffer and free its memory; it, and what refers to it, is of no use until it is renewed."""
        self.release(label, buffer.nbytes, buffer)
        if self._learner is not None:
            self._learner.give_up(buffer.values)

    def renew(self, label: str, buffer: Buffer) -> None:
        """Hold a buffer again that was given up, with any contents."""
        if self._learner is not None:
            self._learner.renew(buffer.values)
        self.hold(label, buffer.nbytes, buffer)

    # computing -----------------------------------------------------------------------------------------------------
    def math(
        self,
        function: Callable[..., Any],
        touches: Sequence[Buffer],
        reads: Sequence[Buffer] = (),
        *,
        kind: str = "elementwise",
        varying: Mapping[str, float] = _NOTHING,
        **constants: Any,
    ) -> Program[Any]:
        """Compute ``function(xp, *touches, *reads, **constants, **varying)`` over the tensor namespace.

        Its cost is counted from the function itself (with 1 for what is `varying`). Replies with what it returns,
        tensors wrapped as buffers (None, one or a tuple). The function changes `touches` only.
        """
        operands = (*touches, *reads)
        sizes = tuple([(operand.elements, operand.itemsize) for operand in operands])
        cost = counted_of(function, sizes, tuple(sorted(constants.items())), tuple(varying))
        label = getattr(function, "__name__", "math")
        work = None
        if self._learner is not None:
            xp, contents = self._learner.tensors, self._contents

            def work() -> Any:
                if contents is not None:
                    return contents.apply(function, touches, reads, constants, varying)
                return function(xp, *(operand.values for operand in operands), **constants, **varying)

        result = yield Compute(cost.kernel(label, kind), work, tuple(touches), tuple(reads))
        return wrapped(label, cost.result, result)

    def forward(
        self, part: Part, parameters: Buffer, batch: Batch, inputs: Buffer | None = None, *, lent: bool = False
    ) -> Program[Activation]:
        """Forward pass of `part` with these parameters (a buffer of the part's size).

        `inputs` is the activation of the part before; None for the first part, which reads the batch. The last part
        ends in the mean loss. Copies what backward needs: parameters may change before `backward`. With `lent` they
        are not copied, and `backward` takes them as they are by then; the program leaves `inputs` alone until then.
        """
        itemsize = self.model.itemsize
        work = None
        if self._learner is not None:
            given = self._learner, self._contents, part, parameters, batch, inputs, lent, self.count(self.role)
            work = functools.partial(do_forward, *given)
        reads = (parameters,) if inputs is None else (parameters, inputs)
        reply = yield Compute(forward_kernel(part, batch.size, batch.step, batch.micro), work, (), reads)
        values, saved = (None, None) if reply is None else reply
        held = batch.size * part.stored_elements * itemsize
        self.hold("activations", held, saved)
        kept = parameters if lent else None
        if part.is_last:
            return Activation(part, batch, None, values, saved, held, kept)
        outputs = Buffer(f"{part.name}.outputs", batch.size * part.output_elements, itemsize, values)
        return Activation(part, batch, outputs, None, saved, held, kept)

    def backward(
        self, activation: Activation, gradient: Buffer | None, into: Buffer, add: bool = False
    ) -> Program[Buffer | None]:
        """Backward pass through a forward's part; writes (or adds) the parameters' gradient to `into`.

        `gradient` is that of the part's outputs, None for the last part. Replies with the gradient of the inputs, or
        None for the first part. The activation is released.
        """
        part, batch = activation.part, activation.batch
        work = None
        if self._learner is not None:
            work = functools.partial(do_backward, self._learner, activation, gradient, into, add)
        reads = tuple(buffer for buffer in (gradient, activation.parameters) if buffer is not None)
        values = yield Compute(backward_kernel(part, batch.size, batch.step, batch.micro), work, (into,), reads)
        self.drop(activation)
        if part.is_first:
            return None
        return Buffer(f"{part.name}.inputs", batch.size * part.input_elements, self.model.itemsize, values)

    def keep_input(self, activation: Activation, inputs: Buffer | None) -> Activation:
        """Drop all that a forward pass stored but its input; `saved` is then the input, to compute forward again."""
        self.drop(activation)
        return Activation(activation.part, activation.batch, None, None, inputs)

    def drop(self, activation: Activation) -> None:
        """Release what a forward pass stored, if it is still held."""
        if activation.held_bytes:
            self.release("activations", activation.held_bytes, activation.saved)
        activation.saved, activation.held_bytes, activation.parameters = None, 0, None

    def gradient(self, parameters: Buffer, batch: Batch, into: Buffer) -> Program[Buffer]:
        """Gradient of the mean loss of `batch` at `parameters` (the whole model), written to `into`; logs the loss."""
        activation = yield from self.forward(self.model.whole, parameters, batch)
        try:
            yield from self.log_loss(activation)
            yield from self.backward(activation, None, into)
        finally:
            self.drop(activation)  # a cancelled gradient holds nothing either
        return into

    def update(
        self,
        replica: Replica,
        gradient: Buffer,
        *,
        read: int,
        scale: float = 1.0,
        peer: int = -1,
        layer: str = "",
        copy: bool = False,
        correct: Callable[..., Tensor] | None = None,
        beside: Sequence[Buffer] = (),
    ) -> Program[Buffer | None]:
        """Apply ``scale * gradient`` with the optimiser; count the version; log the staleness.

        `read` is the version at which the gradient was computed, `peer` the rank that did (if another); the rest as of
        :meth:`optimize`. Updates are applied in the order in which they begin: this one at version ``replica.begun``.
        """
        updated = yield from self.optimize(replica, gradient, scale=scale, copy=copy, correct=correct, beside=beside)
        version = replica.version
        replica.version += 1
        yield Log(Event("applied", peer=peer, version_read=read, version_applied=version, layer=layer))
        return updated

    def optimize(
        self,
        replica: Replica,
        gradient: Buffer,
        *,
        scale: float = 1.0,
        copy: bool = False,
        correct: Callable[..., Tensor] | None = None,
        beside: Sequence[Buffer] = (),
        step: float | None = None,
    ) -> Program[Buffer | None]:
        """The optimiser's update alone, for copies that count no versions.

        The learning rate is that of `step`; without it, of where the copy's updates are (`Replica.per_step`).

        With `copy` the reply is a copy of the parameters right after this update, whatever other lanes do to them. In
        the same compute ``correct(xp, gradient, parameters, *beside)``, a function with a hash, replies what is applied
        in the gradient's place; it may change what is `beside`.
        """
        optimizer = self.optimizer.on(replica.panels) if replica.panels else self.optimizer
        varying: dict[str, float] = {"count": replica.begun}
        if self._learner is not None:
            varying["step"] = replica.begun / replica.per_step if step is None else step
        replica.begun += 1
        result: Buffer | None = yield from self.math(
            update_function(optimizer, copy, correct),
            (replica.parameters, *replica.slots, *beside),
            (gradient,),
            kind="update",
            varying=varying,
            scale=scale,
        )
        return result

    def copy(self, buffer: Buffer) -> Program[Buffer]:
        """A copy of a buffer's values, in order with the computes that change it."""
        result: Buffer = yield from self.math(copied, (), (buffer,))
        return result

    def accumulate(self, into: Buffer, other: Buffer) -> Program[None]:
        """Add `other` to `into`."""
        yield from self.math(add, (into,), (other,))

    def clear(self, buffer: Buffer) -> Program[None]:
        """Set a buffer to zero."""
        yield from self.math(clear, (buffer,))

    def log_loss(self, activation: Activation) -> Program[None]:
        """Log the loss that the last part's forward pass found, if values are carried."""
        if activation.loss is not None:
            step, micro = activation.batch.step, activation.batch.micro
            yield Log(Event("loss", step=step, micro=micro, value=float(activation.loss)))

    def step_done(self, step: int) -> Program[None]:
        """Log that this worker finished iteration `step`."""
        yield Log(Event("step", step=step))
