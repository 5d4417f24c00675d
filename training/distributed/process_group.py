"""The processes that train one stage together, each on its share of the samples.

Notable points:
- The main process (rank 0) starts the others on this machine, or `torchrun` starts all of them.
- Only the main process writes checkpoints and reports.
- What they tell each other here is small; weights and gradients are `torch`'s own business (`sharding`).
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # the others wait while the main process writes a checkpoint
LEAVING_SECONDS = 60  # for the others to end, once this process has


@contextmanager
def process_group(processes: int, command: Sequence[str]):
    """Inside, this process is one of `processes` that train together; the main one starts the others with `command`."""
    others: list[subprocess.Popen] = []
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        others = _start_others(processes, command)
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            start_process_group()
        yield
    except BaseException as error:
        for other in others:  # they would wait for this process
            other.terminate()
        if is_connection_lost(error):
            reason = str(error).splitlines()[0]
            raise ValueError(f"another process of this training has ended, or cannot be reached: {reason}") from None
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for other in others:
            _wait(other)


def is_connection_lost(error: BaseException) -> bool:
    """Whether it is what `torch` raises when another process does not answer; gloo has no type of its own for it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def _wait(process: subprocess.Popen) -> None:
    """Waits until it has ended. A process that waits for one that is gone is ended."""
    try:
        process.wait(LEAVING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_process_group() -> None:
    """Joins the group that the environment names (`torchrun`). A GPU's processes talk on the CPU too: states are saved
    from there."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)


def start_alone() -> None:
    """Makes a group of this process alone, unless it is in one: weights on a GPU are sharded even over one."""
    if not dist.is_initialized():
        store = dist.HashStore()
        dist.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1, timeout=COLLECTIVE_TIMEOUT)


def _start_others(processes: int, command: Sequence[str]) -> list[subprocess.Popen]:
    os.environ |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "RANK": "0", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ranks = ({"RANK": str(number), "LOCAL_RANK": str(number)} for number in range(1, processes))
    return [subprocess.Popen(command, env=os.environ | variables) for variables in ranks]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    return rank() == 0


def reduced(values: Sequence[float], device: torch.device, operation=dist.ReduceOp.SUM) -> list[float]:
    """The values, each summed (or what `operation` says) over the processes; with one collective call."""
    if not dist.is_initialized():
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, operation)
    return tensor.tolist()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process. All processes get the same answer at the same step."""
    return bool(reduced([float(flag)], device, dist.ReduceOp.MAX)[0])


def from_rank_0(tensor: Tensor) -> None:
    """Replaces a tensor by the one of the main process."""
    if dist.is_initialized():
        dist.broadcast(tensor, 0)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows [n, dim] of all processes, in the order of their ranks; n may differ."""
    if world_size() == 1:
        return rows
    counts = [int(count) for count in _gathered(torch.tensor([len(rows)], device=rows.device))]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return torch.cat([part[:count] for part, count in zip(_gathered(padded), counts, strict=True)])


def _gathered(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return parts
