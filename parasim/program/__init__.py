"""The language that schemes are written in: operations, buffers, groups, collectives, the context."""

from parasim.program.buffers import Buffer, bounds
from parasim.program.cast import Actor, Cast, Role
from parasim.program.coded_sums import coded_gather, coded_scatter, coded_sum
from parasim.program.coding import Coded, decoded, encode
from parasim.program.compressor import Chance, Compression, Compressor, Span
from parasim.program.context import Context
from parasim.program.groups import Group
from parasim.program.halves import backward_inputs, backward_weights
from parasim.program.kernels import backward_kernel, counted, forward_kernel, half_kernel
from parasim.program.model import Layer, Model, Part, Tie, Tied
from parasim.program.ops import (
    ANY,
    Cancel,
    Closed,
    Collective,
    Compute,
    Decide,
    Event,
    Exchange,
    Handle,
    Kernel,
    Locked,
    Log,
    Message,
    Op,
    Poll,
    Post,
    Probe,
    Program,
    Read,
    Recv,
    Send,
    Sleep,
    Update,
    Wait,
    WaitAny,
    number,
)
from parasim.program.partition import Holding, cut_by_hand, cut_evenly
from parasim.program.scheme import Codes, Options, Scheme, Taxonomy, option
from parasim.program.setting import ClosedForm, Ground, NoClosedForm, Planning, Route, Setting
from parasim.program.sharded import backward_shard, forward_shard
from parasim.program.shards import Crossing, Shard, Split
from parasim.program.shared import Shared, Snapshot
from parasim.program.snapshots import HeldModel
from parasim.program.state import Activation, Batch, Replica
from parasim.program.tensors import Tensor, Tensors

__all__ = [
    "ANY",
    "Activation",
    "Actor",
    "Batch",
    "Buffer",
    "Cancel",
    "Cast",
    "Chance",
    "Closed",
    "ClosedForm",
    "Coded",
    "Codes",
    "Collective",
    "Compression",
    "Compressor",
    "Compute",
    "Context",
    "Crossing",
    "Decide",
    "Event",
    "Exchange",
    "Ground",
    "Group",
    "Handle",
    "HeldModel",
    "Holding",
    "Kernel",
    "Layer",
    "Locked",
    "Log",
    "Message",
    "Model",
    "NoClosedForm",
    "Op",
    "Options",
    "Part",
    "Planning",
    "Poll",
    "Post",
    "Probe",
    "Program",
    "Read",
    "Recv",
    "Replica",
    "Role",
    "Route",
    "Scheme",
    "Send",
    "Setting",
    "Shard",
    "Shared",
    "Sleep",
    "Snapshot",
    "Span",
    "Split",
    "Taxonomy",
    "Tensor",
    "Tensors",
    "Tie",
    "Tied",
    "Update",
    "Wait",
    "WaitAny",
    "backward_inputs",
    "backward_kernel",
    "backward_shard",
    "backward_weights",
    "bounds",
    "coded_gather",
    "coded_scatter",
    "coded_sum",
    "counted",
    "cut_by_hand",
    "cut_evenly",
    "decoded",
    "encode",
    "forward_kernel",
    "forward_shard",
    "half_kernel",
    "number",
    "option",
]
