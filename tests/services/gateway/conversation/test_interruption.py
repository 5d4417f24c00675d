"""The user speaks again, changes their mind, or vanishes: everything stops, and history keeps what was played."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from redis.asyncio import Redis

from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.usage_pb2 import FinishReason
from services.gateway.conversation.interruption import InterruptionPolicy
from services.gateway.conversation.outbox import Outbox
from services.gateway.events import Event, ItemCreated, Playback, SpeechStarted, StateDecided, TextDelta, TurnDone
from services.gateway.events.items import Item, played_text

Action = wire.Playback.Action
VAD = wire.TURN_DETECTION_SERVER_VAD
STORY = Sampling(max_tokens=120, seed=3)
LONG = {"sampling": Sampling(max_tokens=120)}  # an answer of many clauses


async def first_audio(client: Client) -> wire.ServerEvent:
    async for event in client.events():
        if event.HasField("audio"):
            return event
    raise AssertionError("no audio came")


async def until_done(client: Client, turn_id: str) -> list[wire.ServerEvent]:
    events = []
    async for event in client.events():
        events.append(event)
        if event.turn_id == turn_id and event.HasField("done"):
            return events
    raise AssertionError("the turn did not end")


async def no_live_turns(services) -> None:
    """Waits until no service holds a row for a turn."""
    from services.telemetry import metrics

    def rows() -> float:
        return sum(sample.value for metric in metrics.SLOTS_USED.collect() for sample in metric.samples)

    for _ in range(250):
        if rows() == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{rows()} rows are still held")


async def test_cancel_stops_the_turn_everywhere_at_once(make_gateway, connect, services):
    client = await connect(await make_gateway(), **LONG)
    await client.send(text="tell me a long story")
    await client.send(respond=wire.Respond())
    turn_id = (await first_audio(client)).turn_id
    await client.send(cancel=wire.CancelTurn())
    events = await until_done(client, turn_id)
    assert events[-1].done.finish_reason == FinishReason.FINISH_REASON_CANCELLED
    await no_live_turns(services)
    after = await client.ask(Question(text="hello"))
    assert after.complete and after.turn_id != turn_id


async def test_speaking_again_interrupts_and_no_late_audio_comes(make_gateway, connect, spoken_question):
    gateway = await make_gateway()
    client = await connect(gateway, **LONG)
    await client.send(text="tell me a long story")
    await client.send(respond=wire.Respond())
    old = (await first_audio(client)).turn_id
    await client.send(played=wire.Played(turn_id=old, samples=0))
    await client.send(audio=spoken_question.tobytes()[:32_000])
    await client.send(end_of_audio=wire.EndOfAudio())
    events, new, cancelled = [], "", False
    async for event in client.events():
        events.append(event)
        if event.HasField("speech_started"):
            new = event.turn_id
        if new and event.turn_id == old and not event.HasField("item_created"):
            assert event.HasField("done") and event.done.finish_reason == FinishReason.FINISH_REASON_CANCELLED
            assert event.done.text == ""  # nothing of it had been played
            cancelled = True
        if event.turn_id == new and event.HasField("done"):
            break
    assert cancelled and events[-1].done.finish_reason == FinishReason.FINISH_REASON_LENGTH
    messages = await gateway.backend.store.items.list(client.session_id)
    assert [(message.role, message.turn_id) for message in messages[-2:]] == [("user", new), ("assistant", new)]
    assert next(message for message in messages if message.role == "assistant").played == 0


async def test_history_keeps_what_was_heard(make_gateway, connect):
    gateway = await make_gateway()
    client = await connect(gateway, **LONG)
    await client.send(text="tell me a long story")
    await client.send(respond=wire.Respond())
    turn_id = (await first_audio(client)).turn_id
    whole = (await until_done(client, turn_id))[-1].done.text
    samples = sum(marks[0] for marks in (await gateway.backend.store.items.list(client.session_id))[1].marks[-1:])
    await client.send(played=wire.Played(turn_id=turn_id, samples=samples // 2))
    await client.ask(Question(text="and then?"))
    kept = (await gateway.backend.store.items.list(client.session_id))[1]
    assert kept.turn_id == turn_id and kept.played == samples // 2
    played = played_text(whole, kept.marks, kept.played)
    assert whole.startswith(played) and len(played) < len(whole)


async def test_the_microphone_interrupts_under_server_vad(make_gateway, connect, spoken_question):
    client = await connect(
        await make_gateway(), turn_detection=wire.TURN_DETECTION_SERVER_VAD, sampling=Sampling(max_tokens=200)
    )
    await client.send(text="tell me a long story")
    await client.send(respond=wire.Respond())
    old = (await first_audio(client)).turn_id
    quiet = np.random.default_rng(0).normal(0, 20, 20_000).astype("<i2").tobytes()
    audio = spoken_question.tobytes() + quiet
    for at in range(0, len(audio), 3200):
        await client.send(audio=audio[at : at + 3200])
    started, reasons = [], {}
    async for event in client.events():
        if event.HasField("speech_started"):
            started.append(event.turn_id)
        if event.HasField("done"):
            reasons[event.turn_id] = event.done.finish_reason
            if started and event.turn_id == started[0]:
                break
    assert len(started) == 1 and started[0] != old
    assert reasons[started[0]] == FinishReason.FINISH_REASON_LENGTH


async def test_a_client_that_vanishes_frees_everything(make_gateway, connect, services):
    gateway = await make_gateway()
    client = await connect(gateway, **LONG)
    await client.send(text="tell me a long story")
    await client.send(respond=wire.Respond())
    await first_audio(client)
    await client.close()
    for _ in range(250):
        if gateway.backend.admission.connections == 0:
            break
        await asyncio.sleep(0.02)
    assert gateway.backend.admission.connections == 0
    await no_live_turns(services)
    back = await connect(gateway, session_id=client.session_id)  # the session is free and goes on
    assert (await back.ask(Question(text="hello"))).complete


async def test_a_client_that_closes_its_side_still_hears_the_answer(make_gateway, connect):
    client = await connect(await make_gateway())
    await client.send(text="hello")
    await client.send(respond=wire.Respond())
    await client._call.done_writing()
    kinds = [event.WhichOneof("event") async for event in client.events()]
    assert kinds[-1] == "done" and "audio" in kinds


async def held(gateway, session_id: str) -> bool:
    """Whether some gateway holds the session's lease."""
    async with Redis.from_url(gateway.backend.settings.store.redis_url) as redis:
        return bool(await redis.exists(f"parley:{{{session_id}}}:turn"))


async def test_two_connections_do_not_answer_in_one_session_at_once(make_gateway, connect):
    gateway = await make_gateway(store__lease_seconds=3)
    one = await connect(gateway, sampling=Sampling(max_tokens=200))
    two = await connect(gateway, session_id=one.session_id, text_only=True)
    await one.send(audio=bytes(3200))  # a question that is still being asked
    while not await held(gateway, one.session_id):
        await asyncio.sleep(0.01)
    answer = await two.ask(Question(text="hello"))
    assert (answer.finish_reason, answer.error.code) == ("failed", "ABORTED") and answer.error.retry_after > 0
    await one.send(cancel=wire.CancelTurn())
    for _ in range(50):
        answer = await two.ask(Question(text="hello"))
        if answer.complete:
            break
    assert answer.complete


async def speak(client: Client, samples: np.ndarray) -> None:
    """The microphone: speech, then a second of quiet."""
    quiet = np.random.default_rng(0).normal(0, 20, 20_000).astype("<i2").tobytes()
    audio = samples.tobytes() + quiet
    for at in range(0, len(audio), 3200):
        await client.send(audio=audio[at : at + 3200])


@pytest.fixture
async def story_then_noise(make_gateway, connect, services):
    """A function: a conversation in which a story is being told, and nothing after it seems worth an answer."""

    async def begin(**settings) -> tuple:
        both = ",".join(f"127.0.0.1:{services.ports[name]}" for name in ("llm_core", "silent"))
        gateway = await make_gateway(upstream__llm_core=both, conversation__max_unread_events=4, **settings)
        client = await connect(gateway, turn_detection=VAD, sampling=STORY)
        await client.send(text="tell me a long story")
        await client.send(respond=wire.Respond())
        story = (await first_audio(client)).turn_id
        gateway.backend.settings.upstream.llm_core = f"127.0.0.1:{services.ports['silent']}"
        return gateway, client, story

    return begin


async def test_speech_that_is_not_meant_for_us_does_not_end_an_answer(
    make_gateway, connect, story_then_noise, spoken_question
):
    undisturbed = await connect(await make_gateway(), turn_detection=VAD, sampling=STORY)
    whole = await undisturbed.ask(Question(text="tell me a long story"))
    gateway, client, story = await story_then_noise()
    await speak(client, spoken_question)
    ended, actions, samples = {}, [], 0
    async for event in client.events():
        assert not event.HasField("speech_started") and not event.HasField("transcript")
        if event.HasField("playback"):
            assert event.turn_id == story
            actions.append(event.playback.action)
        if event.HasField("audio"):
            assert event.turn_id == story and actions[-1:] != [Action.ACTION_PAUSE]
            samples = samples or event.audio.offset
            assert event.audio.offset == samples  # where it was
            samples += len(event.audio.audio) // 2
        if event.HasField("done"):
            ended[event.turn_id] = event.done
        if len(ended) == 2:
            break
    changes = [action for action, _ in itertools.groupby(actions)]
    assert changes and changes == [Action.ACTION_PAUSE, Action.ACTION_RESUME] * (len(changes) // 2)
    noise = next(turn_id for turn_id in ended if turn_id != story)
    assert ended[noise].finish_reason == FinishReason.FINISH_REASON_NOTHING
    assert ended[story].finish_reason == FinishReason.FINISH_REASON_LENGTH and ended[story].text == whole.text
    messages = await gateway.backend.store.items.list(client.session_id)
    assert [message.turn_id for message in messages] == [story, story]


async def test_an_answer_goes_on_on_one_llm_core_while_speech_may_be_interrupting_it(
    make_gateway, connect, spoken_question
):
    """The LLM core prefills the question beside the answer, and a question ends the answer when its state is known."""
    gateway = await make_gateway(conversation__max_unread_events=8)
    client = await connect(gateway, turn_detection=VAD, sampling=STORY)
    await client.send(text="tell me a long story")
    await client.send(respond=wire.Respond())
    story = (await first_audio(client)).turn_id
    speaking = asyncio.create_task(speak(client, spoken_question))
    ended, stopped = {}, False
    while len(ended) < 2:
        event = await anext(client.events())
        assert not event.HasField("error"), event.error
        stopped = stopped or event.playback.action == Action.ACTION_STOP
        assert not (stopped and event.turn_id == story and event.WhichOneof("event") in ("text", "audio"))
        if event.HasField("done"):
            ended[event.turn_id] = event.done.finish_reason
    await speaking
    assert ended.pop(story) == FinishReason.FINISH_REASON_CANCELLED
    assert list(ended.values()) == [FinishReason.FINISH_REASON_LENGTH]


class FakeAnswer:
    """A turn that answers, as the policy sees it."""

    id, question_id, answering, being_played = "old", "", False, False

    def __init__(self, outbox: Outbox):
        self._outbox, self.cancelled = outbox, []

    def cancel(self, by_speech: bool = False) -> None:
        self.cancelled.append(by_speech)
        self._outbox.silence(self.id)


def told(outbox: Outbox) -> list:
    """What goes out now: of a `Playback` its action, of others their type."""
    outbox.close()
    bodies = [event.body for event in iter(outbox._next_now, None)]
    return [body.action if isinstance(body, Playback) else type(body) for body in bodies]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(limit=8)


@pytest.fixture
def answer(outbox) -> FakeAnswer:
    """It is over, but not delivered."""
    outbox.put_now(Event(TextDelta("late"), "old"))
    outbox.put_now(Event(TurnDone("stop"), "old"))
    return FakeAnswer(outbox)


@pytest.mark.parametrize("interrupts", [True, False])
async def test_an_answer_that_is_over_but_not_delivered_is_held_until_the_state_is_known(outbox, answer, interrupts):
    pending = InterruptionPolicy("state", outbox, 60).on_question(answer, detected=True)
    pending.begin("new")
    outbox.put_now(Event(SpeechStarted(), "new"))
    outbox.put_now(Event(ItemCreated(Item(id="another", role="user")), ""))
    assert (await outbox.next()).body == Playback("pause")
    assert isinstance((await outbox.next()).body, ItemCreated) and outbox._next_now() is None
    pending.decide(interrupts)
    pending.decide(not interrupts)  # too late
    outbox.put_now(Event(TurnDone("stop"), "new"))
    assert answer.cancelled == ([True] if interrupts else [])
    assert told(outbox) == (
        ["stop", SpeechStarted, TurnDone, TurnDone] if interrupts else ["resume", TextDelta, TurnDone, TurnDone]
    )


@pytest.mark.parametrize("kind", ["state", "voice"])
async def test_the_first_voice_holds_the_answer_and_the_question_takes_the_hold_over(outbox, answer, kind):
    policy = InterruptionPolicy(kind, outbox, 60)
    policy.on_voice(answer)
    assert (await outbox.next()).body == Playback("pause") and outbox._next_now() is None
    pending = policy.on_question(answer, detected=True)
    assert (pending is None) == (kind == "voice") and answer.cancelled == ([True] if kind == "voice" else [])
    policy.on_silence()  # of other sound: the question has the hold
    assert told(outbox) == (["stop", TurnDone] if kind == "voice" else [TextDelta, TurnDone])


async def test_after_a_voice_that_was_none_the_answer_goes_on_where_it_was(outbox, answer):
    policy = InterruptionPolicy("state", outbox, 60)
    policy.on_voice(answer)
    assert (await outbox.next()).body == Playback("pause") and outbox._next_now() is None
    policy.on_silence()
    policy.on_silence()
    assert told(outbox) == ["resume", TextDelta, TurnDone] and answer.cancelled == []


async def test_a_hold_ends_in_time_and_the_speech_may_interrupt_all_the_same(outbox, answer):
    policy = InterruptionPolicy("state", outbox, 0.01)
    policy.on_voice(answer)
    pending = policy.on_question(answer, detected=True)
    assert (await outbox.next()).body == Playback("pause")
    assert [(await outbox.next()).body for _ in range(2)] == [Playback("resume"), TextDelta("late")]
    pending.decide(True)
    assert answer.cancelled == [True] and told(outbox) == ["stop", TurnDone]


def read(nothing: float) -> StateDecided:
    return StateDecided("nothing" if nothing > 0.5 else "speech", (1 - nothing, 0.0, nothing))


@pytest.mark.parametrize(
    ("looks", "cancelled"),
    [([9e-5], [True]), ([2e-4], []), ([2e-4, 2e-4], [True]), ([0.9] * 9, []), ([0.9] * 9 + [0.02], [True])],
)
async def test_while_somebody_speaks_a_sure_question_interrupts_and_less_is_sure_the_longer_it_lasts(
    outbox, answer, looks, cancelled
):
    pending = InterruptionPolicy("state", outbox, 60).on_question(answer, detected=True)
    for nothing in looks:
        pending.consider(read(nothing), final=False)
    assert answer.cancelled == cancelled


@pytest.mark.parametrize(("nothing", "cancelled"), [(0.4, [True]), (0.6, [])])
async def test_at_the_end_the_likeliest_state_decides(outbox, answer, nothing, cancelled):
    pending = InterruptionPolicy("state", outbox, 60).on_question(answer, detected=True)
    pending.consider(read(nothing), final=False)
    assert pending.interrupts is None
    pending.consider(read(nothing), final=True)
    assert answer.cancelled == cancelled and pending.interrupts is bool(cancelled)


async def test_what_was_cancelled_on_purpose_while_it_was_held_does_not_go_on(outbox, answer):
    policy = InterruptionPolicy("state", outbox, 60)
    policy.on_voice(answer)
    assert policy.on_question(answer, detected=False) is None
    assert answer.cancelled == [False] and told(outbox) == ["pause", TurnDone]


async def test_a_hold_of_another_answer_ends(outbox, answer):
    policy = InterruptionPolicy("state", outbox, 60)
    policy.on_voice(answer)
    other = FakeAnswer(outbox)
    policy.on_question(other, detected=False)
    assert answer.cancelled == [] and other.cancelled == [False]


async def test_never_holds_nothing(outbox, answer):
    policy = InterruptionPolicy("never", outbox, 60)
    policy.on_voice(answer)
    assert policy.on_question(answer, detected=True) is None and told(outbox) == [TextDelta, TurnDone]


async def test_an_answer_that_was_delivered_is_not_interrupted_unless_it_is_played(outbox):
    over = FakeAnswer(outbox)
    policy = InterruptionPolicy("state", outbox, 60)
    policy.on_voice(over)
    assert policy.on_question(over, detected=True) is None
    assert over.cancelled == [True] and told(outbox) == []
    over.being_played = True
    assert policy.on_question(over, detected=True) is not None


async def test_with_interruption_by_voice_any_speech_ends_an_answer(story_then_noise, spoken_question):
    _, client, story = await story_then_noise(conversation__interruption="voice")
    await speak(client, spoken_question)
    assert (await until_done(client, story))[-1].done.finish_reason == FinishReason.FINISH_REASON_CANCELLED


async def test_cancel_ends_an_answer_and_what_may_be_interrupting_it(story_then_noise, spoken_question):
    _, client, story = await story_then_noise()
    await client.send(audio=spoken_question.tobytes()[:32_000])
    await client.send(audio=spoken_question.tobytes()[32_000:64_000])
    async for event in client.events():
        if event.HasField("playback"):
            break
    await client.send(cancel=wire.CancelTurn())
    ended = {}
    while len(ended) < 2:
        event = await anext(client.events())
        assert not event.HasField("audio")
        if event.HasField("done"):
            ended[event.turn_id] = event.done.finish_reason
    assert story in ended and set(ended.values()) == {FinishReason.FINISH_REASON_CANCELLED}
