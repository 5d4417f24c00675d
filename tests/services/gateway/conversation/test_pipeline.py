"""One turn's pipeline, with services that are scripts: what they are asked, and what the client is told."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from grpc import StatusCode

from protos.parley.v1.language_model_pb2 import GenerateDone, GenerateResponse, State, StateDecision, Token
from protos.parley.v1.speech_decoder_pb2 import AudioChunk, SynthesizeDone, SynthesizeResponse
from protos.parley.v1.speech_encoder_pb2 import EncodeSpeechDone, EncodeSpeechResponse, SpeechChunk
from protos.parley.v1.tensor_pb2 import Tensor
from protos.parley.v1.usage_pb2 import FinishReason, Usage
from services.gateway import events
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.conversation.pipeline import TurnEvents, TurnPipeline
from services.gateway.conversation.question import Question
from services.gateway.events.items import Ref
from services.gateway.media.images import EncodedImage
from services.gateway.settings import MediaSettings
from services.gateway.turn.generate import Prompt
from services.gateway.turn.synthesize import Speech
from services.gateway.upstream.calls import CallContext
from services.rpc.errors import ServiceError
from services.telemetry import metrics

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


def pipeline_of(
    calls: Calls, question: Question, spoken: bool = True, early: EarlyAnswers | None = None
) -> SimpleNamespace:
    told, states = Told(), []

    async def read_prompt() -> Prompt:
        return Prompt()

    async def resolve(ref):
        return None

    async def encoded() -> None:
        pass

    pipeline = TurnPipeline(
        question, Answer(spoken=spoken), calls, CallContext("s", "t"), Speech(), read_prompt, resolve,
        TurnEvents(told.emit, told.append), lambda read, final: states.append((read.state, final, len(told))), encoded,
        early or EarlyAnswers(8),
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
    ((state, final, told),) = turn.states
    assert state == turn.pipeline.state == "text" and final
    assert turn.told[told] == events.StateDecided("text", (1, 0, 0))


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
    class Broken(Calls):
        async def llm_core(self, sent, requests):
            yield GenerateResponse(state=StateDecision(state=State.STATE_SPEECH))
            yield GenerateResponse(token=Token(id=1, text="red"))
            await asyncio.sleep(0.05)
            raise ServiceError(StatusCode.INTERNAL, "broken")

        async def speech_decoder(self, sent, requests):
            yield SynthesizeResponse(chunk=AudioChunk(audio=bytes(4800), sample_rate=24_000, text="red"))
            await asyncio.sleep(60)

    turn = pipeline_of(Broken(), asked_aloud())
    with pytest.raises(ExceptionGroup):
        await turn.pipeline.run()
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
    first, second = prompts
    assert first[:2] == ["open", "speech"] and second == ["open", "image", "speech", "speech", "respond"]
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


# Early answers.


class Pausing(Calls):
    """A speech encoder that answers pauses, and a language model that is given what it has to say."""

    def __init__(self, complete: float | None = None, state: int = State.STATE_SPEECH):
        super().__init__(state)
        self.complete = complete
        self.answers: list[list[str]] = []  # what was said of each prompt

    async def speech_encoder(self, sent, requests):
        async for request in requests:
            kind = request.WhichOneof("message")
            sent.append(kind)
            if kind == "audio":
                yield EncodeSpeechResponse(chunk=SpeechChunk(embeddings=EMBEDDINGS, transcript="which", weights="w"))
            if kind == "pause":
                tail = {"tail": True, "pause_number": request.pause.number, "weights": "w"}
                yield EncodeSpeechResponse(chunk=SpeechChunk(embeddings=EMBEDDINGS, **tail))
        yield EncodeSpeechResponse(chunk=SpeechChunk(embeddings=EMBEDDINGS, transcript="which", weights="w"))
        yield EncodeSpeechResponse(done=EncodeSpeechDone(transcript="which colours"))

    async def llm_core(self, sent, requests):
        only_state = False
        async for request in requests:
            kind = request.WhichOneof("message")
            sent.append(request.part.WhichOneof("part") if kind == "part" else kind)
            only_state = kind == "respond" and request.respond.only_state
        yield GenerateResponse(state=StateDecision(state=self.state, probabilities=[1, 0, 0], complete=self.complete))
        if not only_state:
            for number, word in enumerate(WORDS):
                yield GenerateResponse(token=Token(id=number, text=word))
        done = GenerateDone(finish_reason=FinishReason.FINISH_REASON_STOP, weights=self.weights)
        yield GenerateResponse(done=done)

    def prompts(self) -> list[list[str]]:
        return [sent for service, sent in self.asked if service == "llm_core"]


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def speaking() -> Question:
    return Question(True, 16_000, MediaSettings())


async def speak(turn, question: Question) -> None:
    question.add_audio(bytes(16_000))
    turn.pipeline.audio_added()
    said = question.num_embeddings
    await until(lambda: question.num_embeddings > said)


class Speaking(Calls):
    """A speech decoder whose chunks come with so many seconds of audio, after so many seconds."""

    def __init__(self, *chunks: tuple[float, float]):
        super().__init__()
        self.chunks = chunks

    async def speech_decoder(self, sent, requests):
        await self._read(sent, requests)
        for seconds, after in self.chunks:
            await asyncio.sleep(after)
            audio = bytes(2 * round(24_000 * seconds))
            yield SynthesizeResponse(chunk=AudioChunk(audio=audio, sample_rate=24_000, text="red and blue"))
        yield SynthesizeResponse(done=SynthesizeDone(weights=self.weights))


@pytest.mark.parametrize(
    ("chunks", "waited", "late"),
    [
        ([(20.0, 0.0), (20.0, 0.05)], 0.0, 0),
        ([(0.2, 0.0), (0.05, 0.15), (0.05, 0.15)], 0.0, 1),  # counted once
        ([(20.0, 0.0)], 3.0, 1),
    ],
)
async def test_an_answer_is_late_whose_audio_is(chunks, waited, late):
    turn, before = pipeline_of(Speaking(*chunks), asked_in_writing()), metrics.LATE_ANSWERS._value.get()
    turn.pipeline.clock.began -= waited
    turn.pipeline.clock.ask(waited)
    await turn.pipeline.run()
    assert metrics.LATE_ANSWERS._value.get() - before == late


async def test_at_a_pause_the_answer_is_computed_and_at_the_end_it_is_told_at_once():
    calls, question = Pausing(complete=0.9), speaking()
    turn = pipeline_of(calls, question)
    running = asyncio.create_task(turn.pipeline.run())
    await speak(turn, question)
    turn.pipeline.pause()
    await until(lambda: any(service == "speech_decoder" for service, _ in calls.asked))
    assert turn.pipeline.complete_probability == pytest.approx(0.9)
    await asyncio.sleep(0.02)
    assert not turn.told.of(events.StateDecided) and not turn.told.of(events.TextDelta)
    assert turn.pipeline.answer.text == "" and turn.pipeline.state is None and turn.pipeline.usage.answer_tokens == 0
    assert turn.states == [("speech", False, len(turn.told))], "an answer that is being given may be told to stop"
    turn.pipeline.clock.ask(0.01)
    question.end()
    await running
    assert calls.prompts() == [["open", "speech", "speech", "respond"]]
    kinds = [type(body) for body in turn.told if not isinstance(body, events.Transcript)]
    assert kinds[:4] == [events.StateDecided, *[events.TextDelta] * 3] and kinds.count(events.AudioDelta) == 2
    assert turn.pipeline.answer.text == "red and blue" and turn.pipeline.state == "speech"
    assert question.utterance.length == 4 and turn.states[-1][:2] == ("speech", True)
    turn.pipeline.clock.end()
    latency = turn.pipeline.clock.latency()
    assert 0.01 <= latency.first_audio < 1 and latency.end_of_turn == pytest.approx(0.01)


async def test_who_goes_on_hears_nothing_of_an_answer_to_half_of_the_question():
    calls, question = Pausing(), speaking()
    turn = pipeline_of(calls, question)
    discarded = metrics.DISCARDED_ANSWERS._value.get()
    running = asyncio.create_task(turn.pipeline.run())
    await speak(turn, question)
    turn.pipeline.pause()
    await until(lambda: any(service == "speech_decoder" for service, _ in calls.asked))
    await speak(turn, question)
    assert turn.pipeline.complete_probability is None
    await until(lambda: metrics.DISCARDED_ANSWERS._value.get() == discarded + 1)
    question.end()
    await running
    assert calls.prompts()[0] == ["open", "speech", "speech", "respond"]
    assert calls.prompts()[-1] == ["open", "speech", "speech", "speech", "respond"]
    assert [body.text for body in turn.told.of(events.TextDelta)] == ["red", " and", " blue"]
    assert [body.offset for body in turn.told.of(events.AudioDelta)] == [0, 1200]
    assert turn.pipeline.answer.text == "red and blue" and turn.pipeline.answer.samples == 2400


async def test_where_nothing_may_be_computed_early_the_state_is_read_all_the_same():
    calls, question = Pausing(complete=0.2), speaking()
    turn = pipeline_of(calls, question, early=EarlyAnswers(0))
    running = asyncio.create_task(turn.pipeline.run())
    await speak(turn, question)
    turn.pipeline.pause()
    await until(lambda: turn.pipeline.complete_probability is not None)
    assert turn.pipeline.complete_probability == pytest.approx(0.2)
    question.end()
    await running
    assert [sent[-1] for sent in calls.prompts()] == ["respond", "respond"] and len(turn.told.of(events.TextDelta)) == 3


async def test_the_state_can_be_read_while_the_user_speaks():
    calls, question = Pausing(), speaking()
    turn = pipeline_of(calls, question)
    running = asyncio.create_task(turn.pipeline.run())
    await speak(turn, question)
    turn.pipeline.check_state()
    await until(lambda: turn.states)
    assert turn.states[0][:2] == ("speech", False) and not turn.told.of(events.StateDecided)
    await speak(turn, question)
    turn.pipeline.pause()
    await until(lambda: any(service == "speech_decoder" for service, _ in calls.asked))
    question.end()
    await running
    assert len(turn.told.of(events.TextDelta)) == 3


async def test_an_early_answer_that_fails_is_tried_again_at_the_end():
    class Failing(Pausing):
        async def llm_core(self, sent, requests):
            answers = super().llm_core(sent, requests)
            async for answer in answers:
                if len(self.prompts()) == 1:
                    raise ServiceError(StatusCode.RESOURCE_EXHAUSTED, "full")
                yield answer

    calls, question = Failing(), speaking()
    turn = pipeline_of(calls, question)
    running = asyncio.create_task(turn.pipeline.run())
    await speak(turn, question)
    turn.pipeline.pause()
    await until(lambda: len(calls.prompts()) == 2)
    question.end()
    await running
    assert turn.pipeline.answer.text == "red and blue"


async def test_text_that_comes_after_the_pause_is_answered_too():
    calls, question = Pausing(), speaking()
    turn = pipeline_of(calls, question)
    running = asyncio.create_task(turn.pipeline.run())
    await speak(turn, question)
    turn.pipeline.pause()
    await until(lambda: any(service == "speech_decoder" for service, _ in calls.asked))
    question.texts.append("in German")
    question.end()
    await running
    assert calls.prompts()[-1][-2:] == ["text", "respond"] and len(turn.told.of(events.TextDelta)) == 3


async def test_a_question_whose_answer_was_held_is_kept_whole_before_the_speech_encoder_has_ended():
    kept = []

    class Slow(Pausing):
        async def speech_encoder(self, sent, requests):
            async for answer in super().speech_encoder(sent, requests):
                if "end" in sent:
                    await until(lambda: kept)
                yield answer

    calls, question = Slow(), speaking()
    turn = pipeline_of(calls, question)
    turn.pipeline._events.on_prompt = lambda prompt: kept.append((question.utterance, question.speech(), prompt))
    running = asyncio.create_task(turn.pipeline.run())
    await speak(turn, question)
    turn.pipeline.pause()
    await until(lambda: any(service == "speech_decoder" for service, _ in calls.asked))
    question.end()
    await running
    ((utterance, speech, prompt),) = kept
    assert utterance.length == 4 and speech.shape == [4, 1] and utterance.weights == "w"
    assert prompt.utterance.hash == utterance.hash == question.utterance.hash
    assert question.speech().shape == [4, 1], "what comes at the end is not there twice"
