"""One turn's pipeline, with services that are scripts: what they are asked, and what the client is told."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from protos.parley.v1.language_model_pb2 import GenerateDone, GenerateResponse, State, StateDecision, Token
from protos.parley.v1.speech_decoder_pb2 import AudioChunk, SynthesizeDone, SynthesizeResponse
from protos.parley.v1.speech_encoder_pb2 import EncodeSpeechDone, EncodeSpeechResponse, SpeechChunk
from protos.parley.v1.tensor_pb2 import Tensor
from protos.parley.v1.usage_pb2 import FinishReason, Usage
from services.gateway import events
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.pipeline import TurnEvents, TurnPipeline
from services.gateway.conversation.question import Question
from services.gateway.events.items import Ref
from services.gateway.media.images import EncodedImage
from services.gateway.settings import MediaSettings
from services.gateway.turn.generate import Prompt
from services.gateway.turn.synthesize import Speech
from services.gateway.upstream.calls import CallContext
from services.rpc.errors import ServiceError

WORDS = ["red", " and", " blue"]
EMBEDDINGS = Tensor(dtype="float32", shape=[2, 1], data=bytes(8))


class Calls:
    """The services as scripts. `asked`: for each stream (service, kinds of what it was sent)."""

    def __init__(self, state: int = State.STATE_SPEECH, embeddings: Tensor = EMBEDDINGS):
        self.state, self.embeddings = state, embeddings
        self.weights = "w"  # of language model and speech decoder
        self.asked: list[tuple[str, list[str]]] = []

    async def until_done(self, service: str, attempt):
        return await attempt()

    @contextlib.asynccontextmanager
    async def stream(self, service: str, requests, context: CallContext, keep_open: bool = False):
        sent: list[str] = []
        self.asked.append((service, sent))
        async with (
            contextlib.aclosing(requests),
            contextlib.aclosing(getattr(self, service)(sent, requests)) as answers,
        ):
            yield answers

    async def _read(self, sent: list[str], requests):
        async for request in requests:
            kind = request.WhichOneof("message")
            sent.append(request.part.WhichOneof("part") if kind == "part" else kind)

    async def speech_encoder(self, sent, requests):
        await self._read(sent, requests)
        yield EncodeSpeechResponse(chunk=SpeechChunk(embeddings=self.embeddings, transcript="which", weights="w"))
        yield EncodeSpeechResponse(done=EncodeSpeechDone(transcript="which colours"))

    async def llm_core(self, sent, requests):
        await self._read(sent, requests)
        yield GenerateResponse(state=StateDecision(state=self.state, probabilities=[1, 0, 0]))
        reason, answer = FinishReason.FINISH_REASON_NOTHING, ""
        if self.state != State.STATE_NOTHING:
            for number, word in enumerate(WORDS):
                yield GenerateResponse(token=Token(id=number, text=word))
            reason, answer = FinishReason.FINISH_REASON_STOP, "".join(WORDS)
        usage = Usage(prompt_tokens=9, cached_tokens=4, answer_tokens=3)
        yield GenerateResponse(done=GenerateDone(finish_reason=reason, text=answer, usage=usage, weights=self.weights))

    async def speech_decoder(self, sent, requests):
        await self._read(sent, requests)
        for text in ("red and", "red and blue"):
            yield SynthesizeResponse(chunk=AudioChunk(audio=bytes(2400), sample_rate=24_000, text=text))
        yield SynthesizeResponse(done=SynthesizeDone(weights=self.weights))


class Told(list):
    """Events in the order in which they were told."""

    async def emit(self, body) -> None:
        self.append(body)

    def of(self, kind: type) -> list:
        return [body for body in self if isinstance(body, kind)]


def pipeline_of(calls: Calls, question: Question, spoken: bool = True) -> SimpleNamespace:
    told, states = Told(), []

    async def read_prompt() -> Prompt:
        return Prompt()

    async def resolve(ref):
        return None

    async def encoded() -> None:
        pass

    pipeline = TurnPipeline(
        question, Answer(spoken=spoken), calls, CallContext("s", "t"), Speech(), read_prompt, resolve,
        TurnEvents(told.emit, told.append), lambda state: states.append((state, len(told))), encoded,
    )  # fmt: skip
    return SimpleNamespace(pipeline=pipeline, told=told, states=states)


def asked_aloud() -> Question:
    question = Question(True, 16_000, MediaSettings())
    question.add_audio(bytes(16_000))
    question.end()
    return question


def asked_in_writing() -> Question:
    question = Question(False, 16_000, MediaSettings())
    question.texts.append("hello")
    question.end()
    return question


async def test_a_spoken_question_goes_through_all_three():
    calls, question = Calls(), asked_aloud()
    turn = pipeline_of(calls, question)
    await turn.pipeline.run()
    assert dict(calls.asked) == {
        "speech_encoder": ["open", "audio", "end"],
        "llm_core": ["open", "speech", "respond"],
        "speech_decoder": ["open", "token", "token", "token", "end"],
    }
    assert [body.text for body in turn.told.of(events.Transcript)] == ["which", "which colours"]
    assert "".join(body.text for body in turn.told.of(events.TextDelta)) == turn.pipeline.answer.text == "red and blue"
    assert [body.offset for body in turn.told.of(events.AudioDelta)] == [0, 1200]
    assert turn.pipeline.answer.marks == [(1200, 7), (2400, 12)]
    assert (question.transcript, question.utterance.length, question.weights) == ("which colours", 2, "w")
    assert turn.pipeline.complete and turn.pipeline.finish_reason == "stop"
    assert turn.pipeline.usage == events.Usage(9, 2, 0, 4, 3, 0.5, 0.1)
    assert turn.pipeline.weights == ["w"]


async def test_a_turn_knows_all_weights_that_took_part():
    calls = Calls()
    calls.weights = "other"
    turn = pipeline_of(calls, asked_aloud())
    await turn.pipeline.run()
    assert turn.pipeline.weights == ["other", "w"]


async def test_the_turn_knows_the_state_before_the_client():
    turn = pipeline_of(Calls(State.STATE_TEXT), asked_in_writing(), spoken=False)
    await turn.pipeline.run()
    ((state, told),) = turn.states
    assert state == turn.pipeline.state == "text" and turn.told[told] == events.StateDecided("text", (1, 0, 0))


async def test_a_written_answer_is_not_spoken_and_a_written_question_not_encoded():
    calls = Calls()
    turn = pipeline_of(calls, asked_in_writing(), spoken=False)
    await turn.pipeline.run()
    assert calls.asked == [("llm_core", ["open", "text", "respond"])] and turn.pipeline.answer.text == "red and blue"


async def test_where_there_is_nothing_to_answer_nothing_is_spoken():
    calls = Calls(State.STATE_NOTHING)
    turn = pipeline_of(calls, asked_aloud())
    await turn.pipeline.run()
    assert {service for service, _ in calls.asked} == {"speech_encoder", "llm_core"}
    assert turn.pipeline.finish_reason == "nothing" and turn.pipeline.answer.text == ""


async def test_audio_without_embeddings_is_no_question():
    turn = pipeline_of(Calls(embeddings=Tensor()), asked_aloud())
    with pytest.raises(ExceptionGroup) as caught:
        await turn.pipeline.run()
    assert caught.group_contains(ServiceError, match="too short to recognise")


async def test_the_usage_of_a_turn_that_was_cut_off_is_what_is_known():
    turn = pipeline_of(Calls(), asked_aloud())
    await turn.pipeline.on_token(Token(id=1, text="red"))
    await turn.pipeline.on_audio(bytes(4800), 24_000, "red")
    assert turn.pipeline.usage == events.Usage(0, 0, 0, 0, 1, 0.5, 0.1) and not turn.pipeline.complete


async def picture(name: str) -> EncodedImage:
    return EncodedImage(Ref(weights="w", hash=name, length=1), "image", [b""], 0.1)


async def test_a_picture_that_comes_while_the_user_speaks_starts_the_prompt_again():
    calls, question = Calls(), Question(True, 16_000, MediaSettings())
    turn = pipeline_of(calls, question)
    running = asyncio.create_task(turn.pipeline.run())
    question.add_audio(bytes(16_000))
    question.embeddings.append(EMBEDDINGS)
    while not any("speech" in sent for _, sent in calls.asked):
        await asyncio.sleep(0)
    question.images.append(asyncio.create_task(picture("a")))
    turn.pipeline.picture_added()
    question.end()
    await running
    prompts = [sent for service, sent in calls.asked if service == "llm_core"]
    assert prompts == [["open", "speech"], ["open", "image", "speech", "speech", "respond"]]
    assert "".join(body.text for body in turn.told.of(events.TextDelta)) == "red and blue"


async def test_a_picture_that_comes_before_the_speech_starts_nothing_again():
    calls, question = Calls(), Question(True, 16_000, MediaSettings())
    turn = pipeline_of(calls, question)
    question.images.append(asyncio.create_task(picture("a")))
    turn.pipeline.picture_added()
    question.add_audio(bytes(16_000))
    question.end()
    await turn.pipeline.run()
    assert [sent for service, sent in calls.asked if service == "llm_core"] == [["open", "image", "speech", "respond"]]
