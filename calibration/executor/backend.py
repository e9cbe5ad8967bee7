"""All that the executor asks of torch.distributed: process groups over a store, by rank within the group.

The methods of the process groups themselves are used. They have had the same names from torch 2.6 to 2.13 and warn of
nothing, while the functions around them have been renamed (`reduce_scatter_tensor`, `all_gather_into_tensor`) and keep
a registry of groups that every rank of the world must change in the same order. A group made here concerns its
members only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed

from calibration.executor.scheduling import let_senders_finish

__all__ = ["Group", "local_store", "make_thread", "own_client"]

dist: Any = torch.distributed  # much of it is untyped
_FOREVER = timedelta(days=300)
"""gloo's timeouts close connections for good, so none may ever pass."""
_OPERATORS = {"sum": dist.ReduceOp.SUM, "mean": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}


def local_store(port: int, rank: int, size: int, listener: int | None) -> Any:
    """The store of a run on this machine; rank 0 serves it on the listening socket `listener`."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    served = {} if listener is None else {"master_listen_fd": listener}
    return dist.TCPStore(
        "127.0.0.1", port, size, listener is not None, timeout=_FOREVER, wait_for_workers=False, **served
    )


def own_client(store: Any) -> Any:
    """The same store over a connection of its own: a client that waits for a key keeps its other threads waiting.

    Older torch can't clone stores: there, ranks must first use their native streams in one order.
    """
    return store.clone() if hasattr(store, "clone") else store


def make_thread() -> Any:
    """A thread of gloo's for groups to share: it moves their bytes, on the interface that the environment names."""
    return dist.ProcessGroupGloo.create_device(interface=os.environ.get("GLOO_SOCKET_IFNAME", ""))


class Group:
    """A process group of some ranks; peers are numbered within it.

    Parameters
    ----------
    store, prefix
        Where its members meet, and under which name.
    index, size
        Place of this process in the group, and number of members.
    gpu
        Over NCCL instead of gloo: collectives of tensors on this GPU only. Not run on GPUs yet.
    thread
        What `make_thread` made, to share among groups; by default one of its own.
    """

    def __init__(
        self,
        store: Any,
        prefix: str,
        index: int,
        size: int,
        *,
        gpu: torch.device | None = None,
        thread: Any = None,
    ) -> None:
        self.index = index
        self.size = size
        self._gpu = gpu
        meeting = dist.PrefixStore(prefix, store)
        if gpu is not None:
            self._group: Any = dist.ProcessGroupNCCL(meeting, index, size, _FOREVER)
        elif thread is None:
            self._group = dist.ProcessGroupGloo(meeting, index, size, _FOREVER)
        else:
            options = dist.ProcessGroupGloo._Options()
            options._timeout = _FOREVER
            options._devices = [thread]
            self._group = dist.ProcessGroupGloo(meeting, index, size, options)
        let_senders_finish()

    # messages: the replies are works, to be waited for in a thread of their own ------------------------------------
    def send(self, tensor: torch.Tensor, peer: int, tag: int) -> Any:
        """Start to send; the tensor must live until the wait is over."""
        return self._group.send([tensor], peer, tag)

    def receive(self, tensor: torch.Tensor, peer: int, tag: int) -> Any:
        """Start to receive into `tensor`, which must be as large as what comes."""
        return self._group.recv([tensor], peer, tag)

    def receive_any(self, tensor: torch.Tensor, tag: int) -> Any:
        """Start to receive from whoever comes first."""
        return self._group.recv_anysource([tensor], tag)

    # collectives: in place, done on return ----------------------------------------------------------------------------
    def all_reduce(self, tensor: torch.Tensor, reduce: str) -> None:
        """Sum, mean or maximum over the members."""
        options = dist.AllreduceOptions()
        options.reduceOp = _OPERATORS[reduce]
        self._finish(self._group.allreduce([tensor], options))
        self._scale(tensor, reduce)

    def reduce_scatter(self, tensor: torch.Tensor, cuts: Sequence[int], reduce: str) -> None:
        """Piece `index` of `tensor` becomes the reduction; pieces of unequal sizes are reduced with all others."""
        start, stop = cuts[self.index], cuts[self.index + 1]
        if len({cuts[i + 1] - cuts[i] for i in range(self.size)}) > 1:
            self.all_reduce(tensor, reduce)
            return
        out = torch.empty_like(tensor[start:stop])
        pieces = [tensor[cuts[i] : cuts[i + 1]] for i in range(self.size)]
        options = dist.ReduceScatterOptions()
        options.reduceOp = _OPERATORS[reduce]
        self._finish(self._group.reduce_scatter([out], [pieces], options))
        self._scale(out, reduce)
        tensor[start:stop] = out

    def all_gather(self, tensor: torch.Tensor, cuts: Sequence[int]) -> None:
        """Every member's piece reaches all; smaller pieces travel in the size of the largest."""
        widest = max(cuts[i + 1] - cuts[i] for i in range(self.size))
        own = tensor.new_zeros(widest)
        own[: cuts[self.index + 1] - cuts[self.index]] = tensor[cuts[self.index] : cuts[self.index + 1]]
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        self._finish(self._group.allgather([gathered], [own]))
        for i, piece in enumerate(gathered):
            tensor[cuts[i] : cuts[i + 1]] = piece[: cuts[i + 1] - cuts[i]]

    def all_to_all(self, out: torch.Tensor, tensor: torch.Tensor, counts_in: list[int], counts: list[int]) -> None:
        """Piece j of `tensor` goes to member j; `out` takes the pieces of all members."""
        self._finish(self._group.alltoall_base(out, tensor, counts_in, counts))

    def broadcast(self, tensor: torch.Tensor, root: int) -> None:
        """The root's tensor reaches all."""
        options = dist.BroadcastOptions()
        options.rootRank = root
        options.rootTensor = 0
        self._finish(self._group.broadcast([tensor], options))

    def latest(self, moment: float) -> float:
        """The largest of the members' moments: known once all have come."""
        moments = torch.tensor([moment], dtype=torch.float64)
        self.all_reduce(moments, "max")
        return float(moments[0])

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        """Every member's values, in the order of the members."""
        table = torch.zeros(self.size * len(values), dtype=torch.float64)
        first = self.index * len(values)
        table[first : first + len(values)] = torch.tensor(values, dtype=torch.float64)
        self.all_gather(table, [i * len(values) for i in range(self.size + 1)])
        rows: list[list[float]] = table.view(self.size, len(values)).tolist()
        return rows

    def _scale(self, tensor: torch.Tensor, reduce: str) -> None:
        if reduce == "mean":
            tensor.mul_(1 / self.size)

    def _finish(self, work: Any) -> None:
        """Wait; NCCL's wait only orders the current stream after it, so wait for that too."""
        work.wait()
        if self._gpu is not None:
            torch.cuda.current_stream(self._gpu).synchronize()
