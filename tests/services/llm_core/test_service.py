"""`parley.v1.LanguageModel` over the wire, with a checkpoint, as the gateway speaks to it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import grpc
import pytest
import torch

from parley.checkpoints import Checkpoint, load_model, save_stage
from parley.config import STATES
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import language_model_pb2_grpc as rpcs
from protos.parley.v1 import usage_pb2
from protos.parley.v1.model_info_pb2 import DescribeRequest
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Embeddings, Tensor
from services.llm_core.service import LlmCoreService
from services.llm_core.settings import LlmCoreSettings
from services.registry import SERVICES
from services.rpc import tensors
from services.rpc.errors import RETRY_AFTER_KEY, retry_after
from services.rpc.server import start_server
from services.rpc.streams import deadline_in

WIDTH = 48
ANSWERING = [100.0, 0.0, -100.0]  # a state head's biases that never say "nothing"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, tiny_config, tmp_path_factory):
    """The tiny checkpoint, made to answer whatever it is asked."""
    model = load_model(tiny_checkpoint, ["language", "speech_prompt", "state_head"])
    model.state_head.bias.data.copy_(torch.tensor(ANSWERING))
    path = tmp_path_factory.mktemp("checkpoints") / "answering"
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="answering", config=model.config, parts=parts, tokenizer=model.tokenizer)
    return path


@pytest.fixture
async def serve(checkpoint):
    """`await serve(setting=…)` → (stub, servicer) of a running service."""
    closers = []

    async def start(**settings):
        servicer = LlmCoreService(LlmCoreSettings(**{"checkpoint": checkpoint} | settings))
        await servicer.start()
        server, port = await start_server(SERVICES["llm_core"], servicer)
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


def opening(session="s", turn="t", messages=(), deadline_ms=0, max_history_tokens=0, **sampling) -> pb.GenerateOpen:
    sampling.setdefault("max_tokens", 6)
    return pb.GenerateOpen(
        session_id=session,
        turn_id=turn,
        messages=messages,
        deadline_ms=deadline_ms,
        max_history_tokens=max_history_tokens,
        sampling=pb.Sampling(**sampling),
    )


def message(role: str, *parts) -> pb.Message:
    return pb.Message(role=f"ROLE_{role.upper()}", parts=[pb.Part(text=p) if isinstance(p, str) else p for p in parts])


def random_embeddings(seed: int, length: int) -> torch.Tensor:
    return torch.randn(length, WIDTH, generator=torch.Generator().manual_seed(seed))


class Store:
    """What a caller keeps of its embeddings, by hash."""

    def __init__(self):
        self.tensors: dict[str, torch.Tensor] = {}

    def put(self, seed: int, length: int) -> EmbeddingRef:
        """Random embeddings, and their reference."""
        ref = EmbeddingRef(weights="encoder", hash=f"{seed:064x}", length=length)
        self.tensors[ref.hash] = random_embeddings(seed, length)
        return ref

    def answer(self, ref: EmbeddingRef) -> Embeddings:
        tensor = self.tensors.get(ref.hash)
        return Embeddings(ref=ref) if tensor is None else Embeddings(ref=ref, tensor=tensors.from_torch(tensor))


@dataclass
class Answer:
    state: pb.StateDecision
    tokens: list[pb.Token]
    done: pb.GenerateDone
    asked: list[EmbeddingRef]  # references that the service said are missing

    @property
    def usage(self):
        return self.done.usage


class Call:
    """A stream that sends what it is told to, and answers `missing` from a store."""

    def __init__(self, stub, open_message: pb.GenerateOpen, store: Store | None = None):
        self._requests: asyncio.Queue[pb.GenerateRequest | None] = asyncio.Queue()
        self._sequence = 0
        self._store = store
        self.asked: list[EmbeddingRef] = []
        self._call = stub.Generate(self._outgoing())
        self._answers = self._call.__aiter__()
        self.send(open=open_message)

    async def _outgoing(self):
        while (message := await self._requests.get()) is not None:
            yield message

    def send(self, **message) -> None:
        self._requests.put_nowait(request(self._sequence, **message))
        self._sequence += 1

    def close(self) -> None:
        self._requests.put_nowait(None)

    def cancel(self) -> None:
        self._call.cancel()

    async def read(self) -> pb.GenerateResponse:
        """The next answer that is neither `missing` nor a heartbeat."""
        while True:
            answer = await anext(self._answers)
            if answer.WhichOneof("message") not in ("missing", None):
                return answer
            self.asked += answer.missing.refs
            for ref in answer.missing.refs if self._store is not None else ():
                self.send(embeddings=self._store.answer(ref))

    async def rest(self) -> Answer:
        answers = [await self.read()]
        while not answers[-1].HasField("done"):
            answers.append(await self.read())
        kinds = [answer.WhichOneof("message") for answer in answers]
        assert kinds == ["state", *["token"] * (len(answers) - 2), "done"]
        return Answer(answers[0].state, [answer.token for answer in answers[1:-1]], answers[-1].done, self.asked)


async def ask(stub, open_message, parts=("hello",), store=None, utterance=None) -> Answer:
    """One whole request."""
    call = Call(stub, open_message, store)
    for part in parts:
        call.send(part=pb.Part(text=part) if isinstance(part, str) else part)
    call.send(respond=pb.GenerateRespond(utterance=utterance))
    return await call.rest()


async def settled(condition) -> None:
    """Waits until a condition of the engine's thread holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_spoken_question_with_history_answers_as_the_whole_model_does(serve, checkpoint):
    stub, _ = await serve()
    store = Store()
    seen, earlier, speech = store.put(1, 4), store.put(2, 6), random_embeddings(3, 7)
    model = load_model(checkpoint)
    content = [
        {"type": "image", "image": store.tensors[seen.hash]},
        {"type": "audio", "audio": store.tensors[earlier.hash]},
    ]
    history = [
        {"role": "system", "content": "be brief."},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "it is five."},
    ]
    question = {"role": "user", "content": [{"type": "text", "text": "what"}, {"type": "audio", "audio": speech}]}
    want = model.reply([*history, question], max_tokens=12, speak=False)

    messages = [
        message("system", "be brief."),
        message("user", pb.Part(image=seen), pb.Part(utterance=earlier)),
        message("assistant", "it is five."),
    ]
    parts = ["what", *(pb.Part(speech=tensors.from_torch(piece)) for piece in speech.split([3, 4]))]
    answer = await ask(stub, opening(messages=messages, max_tokens=12), parts, store)
    assert STATES[answer.state.state - 1] == want.state == "speech"
    assert list(answer.state.probabilities) == pytest.approx(want.probabilities, abs=1e-5)
    assert [token.id for token in answer.tokens] == want.token_ids
    assert answer.done.text == "".join(token.text for token in answer.tokens)
    assert answer.done.text.rstrip("�") == want.text.rstrip("�")
    assert answer.usage.prompt_tokens == len(model.embed([*history, question]))
    assert answer.usage.answer_tokens == len(want.token_ids)
    assert answer.done.finish_reason == usage_pb2.FINISH_REASON_LENGTH
    assert answer.done.weights == Checkpoint.open(checkpoint).fingerprint
    assert answer.done.first_token_seconds > 0
    assert answer.asked == [seen, earlier]


async def test_the_probability_of_a_complete_question_is_the_whole_models(serve, checkpoint, tiny_checkpoint):
    speech = random_embeddings(3, 7)
    content = [{"type": "audio", "audio": speech}]
    want = load_model(tiny_checkpoint).reply([{"role": "user", "content": content}], max_tokens=1, speak=False)
    stub, servicer = await serve(checkpoint=tiny_checkpoint)
    assert "end_of_turn_head" in servicer.describe().parts
    call = Call(stub, opening())
    call.send(part=pb.Part(speech=tensors.from_torch(speech)))
    call.send(respond=pb.GenerateRespond(only_state=True))
    answer = await call.rest()
    assert 0.01 < want.complete < 0.99 and answer.state.complete == pytest.approx(want.complete, abs=1e-5)
    assert not answer.tokens and answer.done.finish_reason == usage_pb2.FINISH_REASON_STOP
    stub, _ = await serve()
    assert not (await ask(stub, opening())).state.HasField("complete")


async def test_an_early_answer_that_is_given_up_makes_the_next_request_cheap(serve):
    """As the gateway does it: the early answer is cancelled and the same turn opens again, both at once."""
    stub, _ = await serve(num_slots=2)
    speech = random_embeddings(4, 60)
    for known, cancelled in ((40, True), (50, False)):
        early = Call(stub, opening(turn="one", max_tokens=200))
        for piece in (speech[:known], random_embeddings(known, 2)):
            early.send(part=pb.Part(speech=tensors.from_torch(piece)))
        early.send(respond=pb.GenerateRespond())
        for _ in range(4):
            await early.read()
        if cancelled:
            early.cancel()
        parts = [pb.Part(speech=tensors.from_torch(piece)) for piece in speech.split(25)]
        answer = await ask(stub, opening(turn="one"), parts)
        before = answer.usage.prompt_tokens - 60  # what opens and closes the message, and the speech prompt
        assert known < answer.usage.cached_tokens < known + before


async def test_describe_says_what_is_served(serve, checkpoint):
    stub, servicer = await serve(max_tokens=20)
    info = await stub.Describe(DescribeRequest())
    assert (info.service, info.model, info.weights) == ("llm_core", "tiny", Checkpoint.open(checkpoint).fingerprint)
    assert list(info.parts) == ["language", "speech_prompt", "state_head"]
    assert (info.device, info.dtype) == (servicer.settings.device, servicer.settings.dtype)
    assert (info.embedding_width, info.context_length, info.max_answer_tokens) == (WIDTH, 512, 20)
    assert info.slots == servicer.engine.limits.num_slots > 0


async def test_the_next_request_computes_only_what_is_new(serve):
    """Picture and speech of the first turn come by reference in the second, and nothing is sent again."""
    stub, _ = await serve()
    store = Store()
    seen, spoken = store.put(1, 5), store.put(2, 40)
    speech = store.tensors[spoken.hash].split([16, 16, 8])
    parts = ["look", pb.Part(image=seen), *(pb.Part(speech=tensors.from_torch(piece)) for piece in speech)]
    first = await ask(stub, opening(turn="one"), parts, store, utterance=spoken)
    assert first.usage.cached_tokens == 0 and first.asked == [seen]

    earlier = message("user", "look", pb.Part(image=seen), pb.Part(utterance=spoken))
    messages = [earlier, message("assistant", first.done.text)]
    second = await ask(stub, opening(turn="two", messages=messages), ["and now?"], store)
    assert second.usage.cached_tokens >= first.usage.prompt_tokens and not second.asked
    other = await ask(stub, opening("other", "two", messages), ["and now?"], store)
    assert other.usage.cached_tokens == 0 and not other.asked
    assert other.usage.prompt_tokens == second.usage.prompt_tokens
    assert other.done.text == second.done.text


async def test_only_what_is_missing_is_asked_for_and_once(serve):
    stub, _ = await serve()
    store = Store()
    known, new = store.put(1, 5), store.put(2, 6)
    await ask(stub, opening("a"), [pb.Part(image=known)], store)
    parts = [pb.Part(image=ref) for ref in (new, known, new, known)]
    history = [message("user", pb.Part(image=new)), message("assistant", "it is five.")]
    answer = await ask(stub, opening("b", messages=history), parts, store)
    assert answer.asked == [new]
    assert not (await ask(stub, opening("c", messages=history), parts, store)).asked


async def test_the_prompt_before_missing_embeddings_is_computed_and_the_rest_waits_in_order(serve, checkpoint):
    stub, servicer = await serve()
    store = Store()
    first, second = store.put(1, 5), store.put(2, 6)
    call = Call(stub, opening())
    for part in (pb.Part(text="look"), pb.Part(image=first), pb.Part(text="and"), pb.Part(image=second)):
        call.send(part=part)
    call.send(respond=pb.GenerateRespond())
    markup = len(servicer._reader.history([])[0][0])
    look, both = (len(servicer._reader.writer.text(text)) for text in ("look", "and"))

    def computed() -> int:
        return sum(sequence.computed for sequence in servicer.engine._sequences.values())

    await settled(lambda: computed() == markup + look)
    call.send(embeddings=store.answer(second))
    await asyncio.sleep(0.05)
    assert computed() == markup + look
    call.send(embeddings=store.answer(first))
    answer = await call.rest()
    content = [
        {"type": "text", "text": "look"},
        {"type": "image", "image": store.tensors[first.hash]},
        {"type": "text", "text": "and"},
        {"type": "image", "image": store.tensors[second.hash]},
    ]
    want = load_model(checkpoint).reply([{"role": "user", "content": content}], max_tokens=6, speak=False)
    assert [token.id for token in answer.tokens] == want.token_ids
    assert answer.asked == [first, second] and answer.usage.prompt_tokens > markup + look + both + 11


async def test_what_a_small_cache_dropped_is_asked_for_again(serve):
    stub, servicer = await serve(encoder_cache_mb=1)
    servicer._encoder_cache.max_bytes = 12 * WIDTH * 4  # two pictures of five embeddings
    store = Store()
    refs = [store.put(seed, 5) for seed in range(3)]
    pictures = [pb.Part(image=ref) for ref in refs]
    answer = await ask(stub, opening("a"), pictures, store)
    assert answer.asked == refs
    again = await ask(stub, opening("b"), pictures[1:], store)
    assert not again.asked
    again = await ask(stub, opening("c"), pictures, store)
    assert again.asked == refs[:1] and again.done.text == answer.done.text
    large = pb.Part(image=store.put(9, 20))
    for session in "de":  # larger than the cache: it serves its request and is not kept
        assert (await ask(stub, opening(session), [large], store)).asked == [large.image]


async def test_what_nobody_has_is_replaced_by_its_fallback_or_left_out(serve):
    stub, _ = await serve()
    store = Store()
    lost = EmbeddingRef(weights="encoder", hash="f" * 64, length=9)
    plain = await ask(stub, opening("a"), ["what is", " two plus", " three?"])
    parts = ["what is", pb.Part(utterance=lost, fallback=" two plus"), " three?"]
    replaced = await ask(stub, opening("b"), parts, store)
    assert replaced.asked == [lost] and replaced.done.text == plain.done.text
    assert replaced.usage.prompt_tokens == plain.usage.prompt_tokens
    shorter = await ask(stub, opening("c"), ["what is", " three?"])
    left_out = await ask(stub, opening("d"), ["what is", pb.Part(image=lost), pb.Part(image=lost), " three?"], store)
    assert left_out.asked == [lost] and left_out.done.text == shorter.done.text


async def test_embeddings_may_come_unasked_before_and_after_what_needs_them(serve):
    stub, _ = await serve()
    store = Store()
    early, late = store.put(1, 5), store.put(2, 6)
    call = Call(stub, opening())
    call.send(embeddings=store.answer(early))
    call.send(part=pb.Part(image=early))
    call.send(part=pb.Part(image=late))
    call.send(embeddings=store.answer(late))
    call.send(respond=pb.GenerateRespond())
    assert (await call.rest()).asked == [late]
    call = Call(stub, opening("b"))
    missing = EmbeddingRef(weights="encoder", hash="f" * 64, length=9)
    call.send(part=pb.Part(image=missing))
    call.send(respond=pb.GenerateRespond())
    call.send(embeddings=Embeddings(ref=early))  # not asked for: of no effect
    call.send(embeddings=Embeddings(ref=missing, tensor=tensors.from_torch(random_embeddings(9, 9))))
    assert (await call.rest()).asked == [missing]


async def test_a_deadline_that_is_very_far_away_harms_nobody(serve):
    stub, servicer = await serve()
    call = Call(
        stub, opening(turn="far", deadline_ms=(1 << 63) - 1)
    )  # the engine waits for its prompt, or its deadline
    await settled(lambda: servicer.engine.live and not servicer.engine._notified)
    assert (await ask(stub, opening())).tokens
    call.send(respond=pb.GenerateRespond())
    assert (await call.rest()).tokens and servicer.alive


@pytest.mark.parametrize("deadline", [True, False])
async def test_a_client_that_never_answers_ends_its_request(serve, deadline):
    stub, servicer = await serve(idle_seconds=1.0)
    call = Call(stub, opening(deadline_ms=deadline_in(0.5) if deadline else 0))
    call.send(part=pb.Part(image=Store().put(1, 5)))
    call.send(respond=pb.GenerateRespond())
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ("deadline has passed" if deadline else "nothing arrived") in error.details()
    assert len(call.asked) == 1
    await settled(lambda: not servicer.engine.live and not servicer.engine._sequences)


async def test_a_stream_that_closes_while_embeddings_are_missing_fails(serve):
    stub, servicer = await serve()
    call = Call(stub, opening())
    call.send(part=pb.Part(image=Store().put(1, 5)))
    call.send(respond=pb.GenerateRespond())
    call.close()
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.CANCELLED
    assert "without messages that it was asked for" in error.details()
    await settled(lambda: not servicer.engine.live and not servicer.engine._sequences)


REF = EmbeddingRef(weights="encoder", hash="a" * 64, length=3)


@pytest.mark.parametrize(
    ("embeddings", "says"),
    [
        (tensors.from_torch(torch.zeros(4, WIDTH)), "states 3 embeddings, but there are 4"),
        (tensors.from_torch(torch.zeros(3, 7)), "width is 48"),
        (tensors.from_torch(torch.zeros(3 * WIDTH)), "width is 48"),
        (tensors.from_torch(torch.zeros(3, WIDTH, dtype=torch.int64)), "int64"),
        (tensors.from_torch(torch.full((3, WIDTH), float("nan"))), "not finite"),
        (Tensor(dtype="float32", shape=[3, WIDTH], data=b"12"), "bytes"),
        (Tensor(dtype="float64", shape=[3, WIDTH]), "dtype"),
    ],
)
@pytest.mark.parametrize("asked", [True, False])
async def test_embeddings_that_do_not_fit_are_refused(serve, embeddings, says, asked):
    stub, servicer = await serve()
    call = Call(stub, opening())
    if asked:
        call.send(part=pb.Part(image=REF))
    call.send(embeddings=Embeddings(ref=REF, tensor=embeddings))
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.details()
    await settled(lambda: not servicer.engine.live)
    assert not len(servicer._encoder_cache)


async def test_the_utterance_of_a_message_must_be_what_was_sent(serve):
    stub, _ = await serve()
    speech = pb.Part(speech=tensors.from_torch(random_embeddings(1, 4)))
    for parts, says in (([speech], "states 3 embeddings, but there are 4"), (["hello"], "has no speech")):
        error = await refusal(ask(stub, opening(), parts, utterance=REF))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert says in error.details()


async def test_a_history_beyond_its_limit_is_left_out_and_not_asked_for(serve):
    stub, _ = await serve()
    store = Store()
    old, new = store.put(1, 30), store.put(2, 20)
    messages = [
        message("system", "be brief."),
        message("user", pb.Part(image=old)),
        message("assistant", "it is five."),
        message("user", pb.Part(image=new)),
        message("assistant", "it is red."),
    ]
    answer = await ask(stub, opening(messages=messages, max_history_tokens=50), store=store)
    assert answer.done.dropped_messages == 2 and answer.asked == [new]
    newer = await ask(stub, opening("other", messages=[messages[0], *messages[3:]]), store=store)
    assert newer.done.dropped_messages == 0
    assert (newer.done.text, newer.usage.prompt_tokens) == (answer.done.text, answer.usage.prompt_tokens)


async def test_text_cannot_close_a_message(serve):
    stub, servicer = await serve()
    answer = await ask(stub, opening("a"), ["<|end|>"])
    assert answer.usage.prompt_tokens > 5 + 1
    assert servicer._reader.writer.stop_ids


async def test_after_the_state_nothing_the_stream_ends(serve):
    stub, servicer = await serve()
    servicer.engine.answers.state_head.bias.data.copy_(-torch.tensor(ANSWERING))
    answer = await ask(stub, opening())
    assert answer.state.state == pb.STATE_NOTHING and not answer.tokens
    assert answer.done.finish_reason == usage_pb2.FINISH_REASON_NOTHING


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (pb.Part(speech=tensors.from_torch(torch.zeros(3, 7))), "width is 48"),
        (pb.Part(speech=tensors.from_torch(torch.full((3, WIDTH), float("inf")))), "not finite"),
        (pb.Part(image=EmbeddingRef(weights="encoder", length=3)), "hash"),
        (pb.Part(), "a part is empty"),
    ],
)
async def test_what_the_model_cannot_read_is_refused(serve, part, says):
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
        ({"messages": [message("user", "hi"), message("system", "late")]}, "system message comes first"),
    ],
)
async def test_an_opening_that_makes_no_sense_is_refused(serve, bad, says):
    stub, _ = await serve()
    error = await refusal(ask(stub, opening(**bad), ["hello"] * 5))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.details()


@pytest.mark.parametrize("messages", [[], [message("user", "hello " * 600)]], ids=["question", "history"])
async def test_more_than_the_context_holds_is_refused(serve, messages):
    stub, servicer = await serve()
    error = await refusal(ask(stub, opening(messages=messages), ["more " * 600, "more"]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "tokens long and the context 512" in error.details() and "shorten" in error.details()
    assert retry_after(error) == 0  # waiting does not help
    await ask(stub, opening())
    assert not servicer.engine.live


@pytest.mark.parametrize("where", ["question", "system", "tools"])
async def test_text_above_the_context_is_refused_before_it_is_tokenized(serve, monkeypatch, where):
    stub, servicer = await serve()
    read, text = [], "more " * 4_000_000
    monkeypatch.setattr(servicer._reader.writer, "text", lambda text: read.append(len(text)) or [5])
    messages = [message("system", text)] if where == "system" else []
    asked = opening(messages=messages, max_history_tokens=50)
    if where == "tools":
        asked.tools.add(name="look", description=text)
    error = await refusal(ask(stub, asked, [text] if where == "question" else ["hello"]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "bytes of text" in error.details()
    assert max(read, default=0) < 1000


async def test_old_messages_above_the_context_are_left_out_before_they_are_tokenized(serve, monkeypatch):
    stub, servicer = await serve()
    read, text = [], servicer._reader.writer.text
    monkeypatch.setattr(servicer._reader.writer, "text", lambda said: read.append(len(said)) or text(said))
    talk = [message("user", "more " * 1_000_000), message("assistant", "yes"), message("user", "and?")]
    answer = await ask(stub, opening(messages=[*talk, message("assistant", "no")], max_history_tokens=50))
    assert answer.done.dropped_messages == 2 and max(read) < 1000


async def test_a_stream_that_breaks_the_rules_ends_and_frees_its_slot(serve):
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
    assert await call.read() == pb.GenerateResponse()  # a heartbeat
    error = await refusal(call.read())  # says nothing more
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call = stub.Generate()
    await call.write(request(0, open=opening(deadline_ms=deadline_in(0.1))))
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await ask(stub, opening())
    assert not servicer.engine.live


async def test_a_question_that_is_still_asked_has_a_heartbeat(serve, monkeypatch):
    monkeypatch.setattr("services.rpc.streams.HEARTBEAT_SECONDS", 0.05)
    call = (await serve())[0].Generate()
    await call.write(request(0, open=opening()))
    assert [await call.read() for _ in range(2)] == 2 * [pb.GenerateResponse()]


async def test_a_client_that_vanishes_frees_its_slot(serve):
    stub, servicer = await serve(num_slots=1, max_queued=0)
    call = stub.Generate()
    await call.write(request(0, open=opening(max_tokens=200)))
    await call.write(request(1, part=pb.Part(text="hello")))
    await call.write(request(2, respond=pb.GenerateRespond()))
    await call.read()
    call.cancel()
    await settled(lambda: not servicer.engine.live)
    await ask(stub, opening("next"))


async def everything(call) -> list:
    return [answer async for answer in call]


async def test_a_full_service_says_when_to_try_again_and_a_turn_replaces_its_own_request(serve, monkeypatch):
    stub, servicer = await serve(num_slots=1, max_queued=0)
    forward = servicer.engine._forward
    monkeypatch.setattr(servicer.engine, "_forward", lambda *work: time.sleep(0.02) or forward(*work))
    held = stub.Generate()
    await held.write(request(0, open=opening("a", "old", max_tokens=200)))
    await held.write(request(1, respond=pb.GenerateRespond()))
    await settled(lambda: servicer.engine.live)
    error = await refusal(ask(stub, opening("b")))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(error.trailing_metadata())[RETRY_AFTER_KEY]) > 0
    await ask(stub, opening("a", "old"))
    error = await refusal(everything(held))
    assert error.code() is grpc.StatusCode.ABORTED
    assert "another request of turn 'old'" in error.details()


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
