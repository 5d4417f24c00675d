"""`parley.v1.LanguageModel` over the wire, with a checkpoint, as the gateway speaks to it."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
import torch

from parley.checkpoints import load_model, save_stage
from parley.config import STATES
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import language_model_pb2_grpc as rpcs
from services.llm_core.service import LlmCoreService
from services.llm_core.settings import LlmCoreSettings
from services.registry import SERVICES
from services.rpc import tensors
from services.rpc.errors import RETRY_AFTER_KEY, retry_after
from services.rpc.server import start_server
from services.rpc.streams import deadline_in

WIDTH = 48
CHATTY = [100.0, 0.0, -100.0]  # a state head's biases that never say "nothing"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, tiny_config, tmp_path_factory):
    """The tiny checkpoint, made to answer whatever it is asked."""
    model = load_model(tiny_checkpoint, ["language", "speech_prompt", "state_head"])
    model.state_head.bias.data.copy_(torch.tensor(CHATTY))
    path = tmp_path_factory.mktemp("checkpoints") / "chatty"
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="chatty", config=model.config, parts=parts, tokenizer=model.tokenizer)
    return path


@pytest.fixture
async def serve(checkpoint):
    """`await serve(setting=…)` → (stub, servicer) of a running service."""
    closers = []

    async def start(**settings):
        servicer = LlmCoreService(LlmCoreSettings(checkpoint=checkpoint, **settings))
        await servicer.start()
        server, port = await start_server(SERVICES["language"], servicer)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        closers.append((server, channel, servicer))
        return rpcs.LanguageModelStub(channel), servicer

    yield start
    for server, channel, servicer in closers:
        await channel.close()
        await server.stop(0)
        await servicer.stop()


def request(sequence: int, **message) -> pb.GenerateRequest:
    return pb.GenerateRequest(sequence=sequence, **message)


def opening(session="s", turn="t", messages=(), deadline_ms=0, **sampling) -> pb.GenerateOpen:
    sampling.setdefault("max_tokens", 6)
    return pb.GenerateOpen(
        session_id=session,
        turn_id=turn,
        messages=messages,
        deadline_ms=deadline_ms,
        sampling=pb.Sampling(**sampling),
    )


def said(role: str, *parts) -> pb.Message:
    return pb.Message(role=f"ROLE_{role.upper()}", parts=[pb.Part(text=p) if isinstance(p, str) else p for p in parts])


def vectors(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(length, WIDTH)).astype(np.float32)


async def ask(stub, open_message, parts=("hello",)):
    """The decision, the tokens and the end of one turn."""
    parts = [pb.Part(text=part) if isinstance(part, str) else part for part in parts]
    requests = [request(0, open=open_message)]
    requests += [request(number, part=part) for number, part in enumerate(parts, 1)]
    requests.append(request(len(requests), respond=pb.GenerateRespond()))
    answers = [answer async for answer in stub.Generate(iter(requests))]
    assert [answer.sequence for answer in answers] == list(range(len(answers)))
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds == ["state", *["token"] * (len(answers) - 2), "done"]
    return answers[0].state, [answer.token for answer in answers[1:-1]], answers[-1].done


async def settled(condition) -> None:
    """Waits until a condition of the engine's thread holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_spoken_turn_with_history_answers_as_the_whole_model_does(serve, checkpoint):
    stub, _ = await serve()
    seen, earlier, heard = vectors(1, 4), vectors(2, 6), vectors(3, 7)
    model = load_model(checkpoint)
    history = [
        {"role": "system", "content": "be brief."},
        {"role": "user", "content": [{"type": "image", "image": seen}, {"type": "audio", "audio": earlier}]},
        {"role": "assistant", "content": "it is five."},
    ]
    question = {"role": "user", "content": [{"type": "text", "text": "what"}, {"type": "audio", "audio": heard}]}
    want = model.reply([*history, question], max_tokens=12, speak=False)

    wire = [tensors.from_numpy(array) for array in (seen, earlier, heard[:3], heard[3:])]
    messages = [
        said("system", "be brief."),
        said("user", pb.Part(image=wire[0]), pb.Part(speech=wire[1])),
        said("assistant", "it is five."),
    ]
    parts = ["what", pb.Part(speech=wire[2]), pb.Part(speech=wire[3])]
    state, tokens, done = await ask(stub, opening(messages=messages, max_tokens=12), parts)
    assert STATES[state.state - 1] == want.state == "speech"
    assert list(state.probabilities) == pytest.approx(want.probabilities, abs=1e-5)
    assert [token.id for token in tokens] == want.token_ids
    assert done.text == "".join(token.text for token in tokens)
    assert done.text.rstrip("�") == want.text.rstrip("�")
    assert done.prompt_tokens == len(model.embed([*history, question]))
    assert done.first_token_seconds > 0


async def test_the_next_turn_computes_only_what_is_new(serve):
    stub, _ = await serve()
    first = [pb.Part(text="look"), pb.Part(image=tensors.from_numpy(vectors(1, 5)))]
    _, _, done = await ask(stub, opening(turn="one"), first)
    assert done.cached_tokens == 0
    messages = [said("user", *first), said("assistant", done.text)]
    _, _, again = await ask(stub, opening(turn="two", messages=messages), ["and now?"])
    assert again.cached_tokens >= done.prompt_tokens
    _, _, other = await ask(stub, opening("other", "two", messages), ["and now?"])
    assert other.cached_tokens == 0 and other.prompt_tokens == again.prompt_tokens
    assert other.text == again.text


async def test_words_cannot_close_a_message(serve):
    stub, servicer = await serve()
    _, _, plain = await ask(stub, opening("a"), ["<|end|>"])
    assert plain.prompt_tokens > 5 + 1
    assert servicer._reader.writer.stop_ids


async def test_after_the_state_nothing_the_stream_ends(serve):
    stub, servicer = await serve()
    servicer.engine._state_head.bias.data.copy_(-torch.tensor(CHATTY))
    state, tokens, done = await ask(stub, opening())
    assert state.state == pb.STATE_NOTHING and not tokens
    assert done.reason == pb.GenerateDone.REASON_NOTHING


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (pb.Part(image=tensors.from_numpy(np.zeros((3, 7), np.float32))), "width is 48"),
        (pb.Part(speech=tensors.from_numpy(np.full((3, WIDTH), np.nan, np.float32))), "not finite"),
        (pb.Part(speech=tensors.from_numpy(np.zeros((3, WIDTH), np.int64))), "int64"),
        (pb.Part(image=pb.Part(image={"dtype": "float32", "shape": [3, WIDTH], "data": b"12"}).image), "bytes"),
        (pb.Part(), "a part is empty"),
    ],
)
async def test_what_the_model_cannot_be_shown_is_refused(serve, part, says):
    stub, servicer = await serve()
    error = await refusal(ask(stub, opening(), [part, "more"]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.details()
    await ask(stub, opening())
    assert not servicer.engine.live


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": [""]}, "stop string"),
        ({"stop": ["a"] * 9}, "stop strings"),
        ({"messages": [pb.Message()]}, "message 0 has no role"),
        ({"messages": [said("user", "hi"), said("system", "late")]}, "system message comes first"),
    ],
)
async def test_an_opening_that_makes_no_sense_is_refused(serve, bad, says):
    stub, _ = await serve()
    error = await refusal(ask(stub, opening(**bad), ["hello"] * 5))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.details()


@pytest.mark.parametrize("messages", [[], [said("user", "hello " * 600)]], ids=["question", "history"])
async def test_more_than_the_context_holds_is_refused(serve, messages):
    stub, servicer = await serve()
    error = await refusal(ask(stub, opening(messages=messages), ["more " * 600, "more"]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "tokens long and the context 512" in error.details() and "shorten" in error.details()
    assert retry_after(error) == 0  # waiting does not help
    await ask(stub, opening())
    assert not servicer.engine.live


async def test_a_stream_that_breaks_the_rules_ends_and_frees_its_row(serve):
    stub, servicer = await serve(idle_seconds=1.5)
    for requests, code in (
        ([request(1, open=opening())], grpc.StatusCode.INVALID_ARGUMENT),
        ([request(0, part=pb.Part(text="hello"))], grpc.StatusCode.INVALID_ARGUMENT),
        ([request(0, open=opening()), request(2, respond=pb.GenerateRespond())], grpc.StatusCode.INVALID_ARGUMENT),
        ([request(0, open=opening()), request(1, open=opening())], grpc.StatusCode.INVALID_ARGUMENT),
        ([request(0, open=opening()), request(1, part=pb.Part(text="hello"))], grpc.StatusCode.CANCELLED),
        ([request(0, open=opening(deadline_ms=1))], grpc.StatusCode.DEADLINE_EXCEEDED),
    ):
        call = stub.Generate(iter(requests))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() is code, caught.value.details()

    call = stub.Generate()
    await call.write(request(0, open=opening()))
    error = await refusal(call.read())  # says nothing more
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call = stub.Generate()
    await call.write(request(0, open=opening(deadline_ms=deadline_in(0.1))))
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await ask(stub, opening())
    assert not servicer.engine.live


async def test_a_client_that_vanishes_frees_its_row(serve):
    stub, servicer = await serve(max_sessions=1, max_queued=0)
    call = stub.Generate()
    await call.write(request(0, open=opening(max_tokens=200)))
    await call.write(request(1, part=pb.Part(text="hello")))
    await call.write(request(2, respond=pb.GenerateRespond()))
    await call.read()
    call.cancel()
    await settled(lambda: not servicer.engine.live)
    await ask(stub, opening("next"))


async def test_full_is_said_with_a_hint_and_a_session_replaces_its_own_turn(serve):
    stub, servicer = await serve(max_sessions=1, max_queued=0)
    held = stub.Generate()
    await held.write(request(0, open=opening("a", "old")))
    await settled(lambda: servicer.engine.live)
    error = await refusal(ask(stub, opening("b")))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(error.trailing_metadata())[RETRY_AFTER_KEY]) > 0
    await ask(stub, opening("a", "new"))
    error = await refusal(held.read())
    assert error.code() is grpc.StatusCode.ABORTED
    assert "turn 'new' of the same session" in error.details()


async def test_a_checkpoint_without_its_parts_is_refused_at_the_start(tiny_checkpoint, tmp_path):
    model = load_model(tiny_checkpoint, ["language"])
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(tmp_path / "half", stage="half", config=model.config, parts=parts, tokenizer=model.tokenizer)
    with pytest.raises(ValueError, match="has no speech_prompt, state_head"):
        await LlmCoreService(LlmCoreSettings(checkpoint=tmp_path / "half")).start()


async def test_health_fails_once_the_engine_is_dead(serve):
    _, servicer = await serve()
    assert servicer.alive
    await servicer.stop()
    assert not servicer.alive
