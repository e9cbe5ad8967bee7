"""Parts of the executor that need no processes."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from calibration.executor.device import NO_GPU, CpuDevice, StagedDevice, choose_device, current_device
from calibration.executor.failures import Failure, first_failure
from calibration.executor.frames import pack_frame, receive_frame, send_frame, unpack_frame
from calibration.executor.inbox import Inbox
from calibration.executor.memory import Vector
from calibration.executor.returns import decode, encode
from calibration.executor.runtime import Runtime
from parasim.cluster.hosts import Device
from parasim.errors import ExecutionError, ProgramError
from parasim.program.buffers import Buffer
from parasim.program.draws import Draws
from parasim.program.ops import Compute, Kernel, Program, Update
from parasim.runtime.shared import Written, update_program
from parasim.runtime.tasks import Pending
from parasim.simulation.noise import LogNormal
from parasim.simulation.pace import modelled
from tests.real_programs import counted


def test_frames_pass_a_socket_whole() -> None:
    here, there = socket.socketpair()
    message, blobs = {"a": [1, 0.1, None]}, [b"", b"x" * 3_000_000]
    with here, there:
        sender = threading.Thread(target=send_frame, args=(here, message, blobs))
        sender.start()
        assert receive_frame(there) == (message, blobs)
        sender.join()
        here.sendall(pack_frame(message, blobs)[:10])
        here.close()
        with pytest.raises(EOFError):
            receive_frame(there)
    assert unpack_frame(pack_frame(message, blobs)) == (message, blobs)


def test_returned_values_keep_type_and_bits() -> None:
    blobs: list[bytes] = []
    values = torch.tensor([0.1, -0.0, math.inf], dtype=torch.float32)
    buffer = Buffer("weights", 3, 4, values)
    sent = json.loads(json.dumps(encode([buffer, buffer.part(1, 3), Buffer("b", 2), 7, "x", object(), None], blobs)))
    whole, part, *rest = decode(sent, blobs)
    assert whole.dtype == np.float32
    assert whole.tobytes() == values.numpy().tobytes()
    assert part.tobytes() == values[1:].numpy().tobytes()
    assert rest == [None, 7, "x", None, None]


def test_on_the_cpu_the_device_seam_copies_nothing() -> None:
    device = CpuDevice()
    values = torch.arange(4.0)
    assert device.to_wire(values).data_ptr() == values.data_ptr()
    assert device.landing(torch.float32, 4, values) is values
    assert device.landed(values, values) is values
    other = torch.zeros(4, dtype=torch.float64)
    landing = device.landing(torch.float32, 4, other)
    assert landing.dtype == torch.float32
    landing.copy_(values)
    assert device.landed(landing, other) is other
    assert other.tolist() == values.tolist()
    assert device.identity == NO_GPU


class Staged(StagedDevice):
    """A device whose memory is the CPU's, and which remembers what it staged."""

    def __init__(self):
        self.staged = []

    def staging(self, dtype, elements):
        self.staged.append(torch.empty(elements, dtype=dtype))
        return self.staged[-1]

    def place(self, values):
        return values.clone()


def test_values_of_other_devices_pass_through_staging_memory() -> None:
    device, values = Staged(), torch.arange(4.0)
    wire = device.to_wire(values[1:])
    assert wire.data_ptr() == device.staged[0].data_ptr()
    assert wire.view(torch.float32).tolist() == [1.0, 2.0, 3.0]
    into = torch.zeros(3, dtype=torch.float64)
    for target in (into, None):
        landing = device.landing(torch.float32, 3, target)
        assert landing is device.staged[-1]
        landing.view(torch.uint8).copy_(wire)
        final = device.landed(landing, target)
        assert final.tolist() == [1.0, 2.0, 3.0]
        assert final is into if target is into else final is not landing


def test_devices_are_chosen_by_name() -> None:
    assert type(choose_device("cpu", 0)) is CpuDevice
    assert current_device() == "cpu"
    with pytest.raises(ExecutionError, match="no device 'tpu'; use auto, cpu or cuda"):
        choose_device("tpu", 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert type(choose_device("auto", 0)) is CpuDevice
    with pytest.raises(ExecutionError, match="torch finds no GPU"):
        choose_device("cuda", 0)


def test_the_first_failure_is_reported_and_what_followed_is_not() -> None:
    lost = Failure(0, 1.0, ExecutionError("lost"), follows=True)
    early, late = Failure(2, 2.0, ProgramError("early"), False), Failure(1, 3.0, ProgramError("late"), False)
    assert first_failure([lost, late, early]) is early.error
    assert first_failure([lost]) is lost.error
    killed = Failure.of_death(1, -9, "last words")
    assert first_failure([lost, early, killed]) is killed.error
    assert str(killed.error).splitlines()[-1] == "last words"


def test_a_pace_is_roofline_times_noise_over_speed() -> None:
    draws, noise = Draws(3, "worker", 1), LogNormal(0.3)
    pace = modelled(Device("d", flops=100.0, memory_bandwidth=10.0, launch=1.0), noise, draws, speed=2.0)
    first, second = Kernel("a", flops=500.0), Kernel("a", nbytes=20.0)
    assert pace(first, 0.0) == pytest.approx((5.0 + 1.0) * noise.factor(draws, first, 0) / 2.0, rel=1e-12)
    assert pace(second, 7.0) == pytest.approx((2.0 + 1.0) * noise.factor(draws, second, 1) / 2.0, rel=1e-12)


def test_the_inbox_takes_what_is_done_first_then_timers_in_order_of_time() -> None:
    inbox, taken = Inbox(), []
    now = time.monotonic()
    inbox.put(taken.append, "put")
    inbox.soon(taken.append, "soon")
    for _ in range(2):
        inbox.take(lambda: math.inf)()
    inbox.at(now + 0.02, lambda: taken.append("late"))
    inbox.at(now + 0.01, lambda: taken.append("early"))
    while len(taken) < 4:
        inbox.take(lambda: math.inf)()
    assert taken == ["soon", "put", "early", "late"]
    assert time.monotonic() >= now + 0.02
    assert inbox.take(lambda: 0.0) is None


def test_dropped_timers_neither_delay_nor_count() -> None:
    inbox, taken, dropped = Inbox(), [], []
    now = time.monotonic()
    inbox.at(now + 60.0, lambda: taken.append("never"), lambda: bool(dropped))
    inbox.at(now + 0.01, lambda: taken.append("later"))
    inbox.take(lambda: 0.0)()
    assert taken == ["later"]
    dropped.append(True)
    assert inbox.take(lambda: 0.0) is None
    assert time.monotonic() < now + 60.0


def test_errors_of_jobs_are_raised_in_the_loop() -> None:
    inbox = Inbox()
    inbox.running += 1
    inbox.beside(lambda: 1 / 0, lambda: None)
    item = inbox.take(lambda: math.inf)
    with pytest.raises(ZeroDivisionError):
        item()


def test_more_jobs_may_block_at_once_than_ever_before() -> None:
    inbox, gate, results = Inbox(), threading.Barrier(20), []
    inbox.running += 1
    for number in range(20):
        inbox.beside(lambda number=number: (gate.wait() is not None, number), lambda _, n: results.append(n))
    while len(results) < 20:
        inbox.take(lambda: math.inf)()
    assert sorted(results) == list(range(20))


# paced computes ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("trains", "end"), [(3.0, 6.0), (3.99, 6.0), (7.0, 9.0)])
def test_a_paced_compute_trains_within_its_modelled_time(
    trains: float, end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 s from when the program could go on, of which the process heard a second later; as long as it trains at least.

    However late the loop comes to look at its timers.
    """
    clock = SimpleNamespace(now=2.0, monotonic=lambda: clock.now)
    for module in ("runtime", "inbox", "watch"):
        monkeypatch.setattr(f"calibration.executor.{module}.time", clock)
    alone: Any = SimpleNamespace(index=0, size=1)
    runtime = Runtime(alone, alone, alone, None, [True], None, CpuDevice(), lambda kernel, now: 5.0, [0.0], None, None)  # type: ignore[arg-type]
    seen: list[tuple[float, float, Any]] = []
    actor: Any = SimpleNamespace(
        rank=0, carries=True, tasks={"main#0": None}, computed=lambda pending, *row: seen.append(row)
    )
    runtime._actor = actor

    def train() -> str:
        clock.now += trains
        return "trained"

    task: Any = SimpleNamespace(id="main#0", since=1.0)
    runtime.compute(actor, Pending(task, Compute(Kernel("backward"), train), clock.now))
    while not seen:
        runtime._inbox.take(lambda: math.inf)()
        clock.now += 100.0
    assert seen == [(1.0, end, "trained")]


# shared memory -------------------------------------------------------------------------------------------------------
class Adding:
    """A plain update of one process's view of a vector, in its two computes: read and add, then write."""

    def __init__(self, vector: Vector, ones: Buffer, tensors: Any) -> None:
        self.program: Program[Written] = update_program(vector, Update(vector.shared, ones, 0, False), tensors, 0)
        self.sums = next(self.program).work()

    def write(self) -> Written:
        write = self.program.send(self.sums)
        with pytest.raises(StopIteration) as ended:
            self.program.send(write.work())
        return ended.value.value


def test_what_a_plain_update_overwrites_is_lost_and_counted(tmp_path: Path) -> None:
    made = counted(2, 1, atomic=False, values=True)
    (shared,), context = made.shared, made.context(0)
    Vector.create(shared, tmp_path, context)
    first, second = (Vector(shared, tmp_path, context) for _ in range(2))
    ones = Buffer("ones", 4, 8, torch.ones(4, dtype=torch.float64))
    one, other = (Adding(vector, ones, context.tensors) for vector in (first, second))
    assert [one.write(), other.write()] == [Written(1, 0), Written(2, 1)]
    assert first.load(0, 8).tolist() == second.load(0, 8).tolist() == [1.0] * 4 + [0.0] * 4
    assert [Adding(vector, ones, context.tensors).write() for vector in (first, second)] == [
        Written(3, 0),
        Written(4, 0),
    ]
    assert first.load(0, 4).tolist() == [3.0] * 4
