"""How long the engines take, for the simulation of a day (`benchmarks.scaling`): one table a kind of machine.

`nano-cpu` has steps as `python -m benchmarks.scaling_measure` found them, one core a replica; starts and prices are
assumed. `vita-7b-h200` is an estimate: counted operations and bandwidth, with host times measured on a CPU
(docs/scaling.md says where each figure is from); nothing of it ran on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceTimes:
    """One replica of a service, and what a turn asks of it. A step with `n` rows takes `base_ms + n * row_ms`."""

    slots: int  # rows that it computes at once
    queue: int  # requests that may wait; more are refused
    share: float  # of the turns that need it
    paced_seconds: float  # that a request holds its slot at the pace of the user, whatever the load
    steps: float  # that a request needs besides
    base_ms: float
    row_ms: float
    first_steps: float  # of these, between the end of the question and the service's first result
    first_ms: float  # of other work before that result
    step_speech_ms: float | None  # speech that a step stands for; None: its work is no speech
    gpus: float  # or CPU cores, that a replica reserves of a node
    start_seconds: float  # of a replica on a node that runs

    def step_seconds(self, rows: float) -> float:
        return (self.base_ms + self.row_ms * rows) / 1000

    def hold(self, rows: float) -> tuple[float, float]:
        """(Seconds that a request holds a slot, seconds of a step), where `rows` are held at once."""
        step = self.step_seconds(rows)
        for _ in range(4):  # rows that wait for the user do not compute, so a step has fewer
            work = self.steps * step
            step = self.step_seconds(rows * work / (self.paced_seconds + work))
        return self.paced_seconds + self.steps * step, step

    def rows_at(self, rate: float) -> float:
        """How many are held at `rate` requests a second, below what it can do."""
        if not self.paced_seconds:  # rows = rate × steps × (base + rows × row)
            work = rate * self.steps / 1000
            return min(work * self.base_ms / max(1 - work * self.row_ms, 1e-9), self.slots)
        rows = 0.0
        for _ in range(6):
            rows = min(rate * self.hold(rows)[0], self.slots)
        return rows

    def factor(self, step: float) -> float | None:
        """The real-time factor; None for work that is no speech."""
        return None if self.step_speech_ms is None else 1000 * step / self.step_speech_ms

    def utilization(self, rows: float, rate: float) -> float:
        """Share of the slots, or of the time where requests are done at once, at `rate` requests a second."""
        if self.paced_seconds or self.step_speech_ms is not None:
            return rows / self.slots
        together = max(rows, 1.0)
        return min(rate * self.steps * self.step_seconds(together) / together, 1.0)


@dataclass(frozen=True)
class Turn:
    """The turn of every talker: one after another, all day."""

    question_seconds: float = 4.0
    answer_seconds: float = 10.0
    pause_seconds: float = 6.0
    gateway_ms: float = 15.0  # of the gateway and the network, to the first audio

    @property
    def seconds(self) -> float:
        return self.question_seconds + self.answer_seconds + self.pause_seconds


@dataclass(frozen=True)
class Cluster:
    """The nodes, all alike, in a pool for each service, and the prices."""

    node_gpus: int  # or cores
    node_start_seconds: float  # until a new node takes pods
    node_idle_seconds: float  # until an empty one is given back
    gpu_hour: float  # price
    unit: str


@dataclass(frozen=True)
class Scenario:
    turn: Turn
    cluster: Cluster
    services: dict[str, ServiceTimes]


VITA_7B_H200 = Scenario(
    turn=Turn(),
    cluster=Cluster(node_gpus=8, node_start_seconds=300, node_idle_seconds=600, gpu_hour=3.50, unit="GPU"),
    services={
        # A picture of 13 tiles: 25 ms at half the peak; two pictures fill a batch of 32 tiles.
        "vision_encoder": ServiceTimes(2, 30, 0.2, 0, 1, 4, 25, 1, 0, None, gpus=1, start_seconds=60),
        # A chunk of 640 ms for up to 64 rows at once, 256 utterances.
        "speech_encoder": ServiceTimes(256, 0, 1, 4, 1, 9, 0.25, 1, 0, 640, gpus=0.25, start_seconds=45),
        # A slot is held from the first word of the question on. 33 slots of 32,768 tokens fit into 141 GB.
        "llm_core": ServiceTimes(33, 32, 1, 4, 40, 9.5, 0.05, 7, 5, 250, gpus=1, start_seconds=120),
        # 40 codec tokens a second; the first audio needs 16, then the codec.
        "speech_decoder": ServiceTimes(64, 64, 1, 0, 400, 1.7, 0.026, 16, 11, 25, gpus=0.25, start_seconds=45),
    },
)

NANO_CPU = Scenario(
    turn=Turn(question_seconds=2.0, answer_seconds=3.0, pause_seconds=5.0),
    cluster=Cluster(node_gpus=16, node_start_seconds=120, node_idle_seconds=600, gpu_hour=0.04, unit="core"),
    services={
        "vision_encoder": ServiceTimes(16, 16, 1, 0, 1, 2.7, 1.34, 1, 0, None, gpus=1, start_seconds=10),
        "speech_encoder": ServiceTimes(32, 0, 1, 2, 1, 8.4, 2.73, 1, 0, 320, gpus=1, start_seconds=10),
        "llm_core": ServiceTimes(16, 32, 1, 2, 10, 5.2, 0.41, 5, 0, 250, gpus=1, start_seconds=10),
        "speech_decoder": ServiceTimes(16, 16, 1, 0, 120, 3.9, 0.89, 8, 0, 25, gpus=1, start_seconds=10),
    },
)

SCENARIOS = {"vita-7b-h200": VITA_7B_H200, "nano-cpu": NANO_CPU}
