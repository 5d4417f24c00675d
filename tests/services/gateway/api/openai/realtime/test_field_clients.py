"""The field's own Python clients that this environment has: a spoken turn, an interruption, a lost connection.

The programs and what is asked of them are in tests/clients; `make client-test` runs more of them, against `nano`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import torch

from parley.checkpoints import load_model, save_stage

ANSWER_TOKENS = 8  # about 2.5 s of audio
RUNNER = Path(__file__).parents[5] / "clients" / "run.py"


@pytest.fixture(scope="session")
def talkative_checkpoint(answering_checkpoint, tmp_path_factory) -> Path:
    """Random weights with which every text is spoken to the limit of its length; else some are over at once."""
    path, model = tmp_path_factory.mktemp("talkative") / "tiny", load_model(answering_checkpoint)
    with torch.no_grad():
        model.speech_decoder.head.bias[model.config.speech_decoder.eos] = -1e4
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="random", config=model.config, parts=parts, tokenizer=model.tokenizer)
    return path


@pytest.fixture(scope="module")
def addresses(services, answering_checkpoint, talkative_checkpoint):
    """Settings of the gateway, whose answers have one length: random weights find no end by themselves."""
    llm = services.start("llm_core", "brief", checkpoint=answering_checkpoint, max_tokens=ANSWER_TOKENS)
    decoder = services.start("speech_decoder", "talkative", checkpoint=talkative_checkpoint)
    yield {"upstream__llm_core": f"127.0.0.1:{llm}", "upstream__speech_decoder": f"127.0.0.1:{decoder}"}
    services.kill("brief")
    services.kill("talkative")


@pytest.mark.parametrize("client", ["openai", "agents"])
async def test_a_client_of_the_field_can_talk(make_gateway, addresses, client):
    gateway = await make_gateway(**addresses)
    command = [sys.executable, RUNNER, client, "--any-answer", "--address", f"127.0.0.1:{gateway.http_port}"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, out.decode() + err.decode()
    assert f"{client}: can talk" in out.decode()
