"""The container of a stage's Job, run as the object says by two pods that meet by its host names."""

import signal
import socket
import sys
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, save_stage
from services.speech_encoder.service import SpeechEncoderService
from services.speech_encoder.settings import SpeechEncoderSettings
from training.launch.kubernetes.objects import stage_objects
from training.launch.kubernetes.settings import LaunchSettings
from training.run_folder import saved_states, work_folder

sys.path.insert(0, str(Path(__file__).parent))

from pods import ROOT, Pod, can_start

STEPS = 8
NANO = ROOT / "checkpoints" / "nano"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start(tmp_path):
    """`start(index)`: a pod of stage 2.1b, in a run that has what it builds on."""
    if not can_start():
        pytest.skip("this machine lets us make no namespaces")
    run = tmp_path / "runs" / "tiny"
    write_parent(run / "1.3", ("language", "speech_adapter", "speech_prompt"))
    write_parent(run / "2.1a", ("speech_encoder", "ctc_head"))
    settings = LaunchSettings(
        name="tiny", stages=("2.1b",), nodes=2, image="parley", checkpoints="runs", steps=STEPS, port=free_port()
    )
    _, job = stage_objects(settings, "2.1b")
    pods = []

    def start(index: int) -> Pod:
        pods.append(Pod(job, index, tmp_path))
        return pods[-1]

    yield start
    for pod in pods:
        pod.kill()


def write_parent(folder: Path, parts: tuple[str, ...]) -> None:
    """A stage of a run, which is fp32, with weights of `checkpoints/nano`, which is half precision."""
    nano = Checkpoint.open(NANO)
    weights = {part: nano.state_dict(part, dtype=torch.float32) for part in parts}
    save_stage(folder, stage=folder.name, config=nano.config, tokenizer=nano.tokenizer(), parts=weights)


def resumed_from(run: Path) -> int:
    """The step of the newest whole state."""
    return int(saved_states(work_folder(run, "2.1b"))[0].name.removeprefix("step-"))


@pytest.mark.timeout(900)
async def test_two_pods_train_a_stage_through_a_stop_and_a_lost_pod(start, tmp_path):
    run = tmp_path / "runs" / "tiny"
    pods = [start(0), start(1)]
    for pod in pods:
        pod.wait_until_begun()
    for pod in pods:
        pod.process.send_signal(signal.SIGTERM)
    assert [pod.wait() for pod in pods] == [75, 75], pods[0].log.read_text()
    step = resumed_from(run)
    assert 0 < step < STEPS

    pods = [start(0), start(1)]
    for pod in pods:
        pod.wait_until_begun()
    pods[1].kill()
    assert pods[0].wait() == 1  # replaced by the Job, as the lost one is
    assert f"{step}/{STEPS}" in pods[0].log.read_text()

    pods = [start(0), start(1)]
    assert [pod.wait() for pod in pods] == [0, 0], pods[0].log.read_text()

    checkpoint = Checkpoint.open(run / "2.1b")
    assert checkpoint.manifest.stage == "2.1b"
    assert checkpoint.manifest.metrics["device"].startswith("2 × ")
    assert start(0).wait() == 0  # a pod of a stage that is done

    service = SpeechEncoderService(SpeechEncoderSettings(checkpoint=run / "2.1b", stop_seconds=0))
    await service.start()
    assert service.describe().weights == checkpoint.fingerprint != Checkpoint.open(NANO).fingerprint
    await service.stop()
