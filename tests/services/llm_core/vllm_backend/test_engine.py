"""What is vLLM's alone: its process may end."""

import os
import signal

import psutil
import pytest
import torch

from parley.models.language import StateHead
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.pieces import Piece
from services.llm_core.sampler import Sampling
from services.llm_core.settings import LlmCoreSettings
from services.rpc.errors import ServiceError
from tests.services.llm_core.asking import settled

pytest.importorskip("vllm")


@pytest.fixture
def engine(tiny_config, tiny_tokenizer, tmp_path):
    """Of random weights that nobody has written."""
    from services.llm_core.vllm_backend.engine import VllmEngine
    from services.llm_core.vllm_backend.model_folder import write_config

    config = tiny_config.language.model_copy(update={"hidden_size": 64, "num_heads": 2, "num_kv_heads": 1})
    write_config(config, 3, tmp_path)
    head = StateHead(64)
    head.bias.data.copy_(torch.tensor([1e3, 0.0, 0.0]))
    arguments = {"enforce_eager": True, "load_format": "dummy"}
    settings = LlmCoreSettings(
        device="cpu", dtype="float32", threads=1, num_slots=2, max_length=256, kv_memory_mb=32, stop_seconds=0,
        vllm_arguments=arguments,
    )  # fmt: skip
    engine = VllmEngine(tmp_path, [head], config, AnswerFormat(tiny_tokenizer, frozenset()), None, settings)
    engine.start()
    yield engine
    engine.stop()


async def test_an_engine_whose_process_ends_says_so_and_is_not_alive(engine):
    request = engine.open("s", "t", [Piece([5, 6])], Sampling(max_tokens=200))
    request.respond([Piece([7])])
    events = request.events()
    await anext(events)
    assert engine.alive
    (core,) = [child for child in psutil.Process().children() if "EngineCore" in "".join(child.cmdline())]
    os.kill(core.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the engine died"):
        async for _ in events:
            pass
    await settled(lambda: not engine.alive)
    with pytest.raises(ServiceError, match="has failed; try again"):
        engine.open("s", "later", [Piece([5])], Sampling())
