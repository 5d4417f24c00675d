"""A complete question survives its gateway: the prompt that another one makes of it is the same."""

from __future__ import annotations

from protos.parley.v1.language_model_pb2 import Message, Part, Sampling
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Tensor
from services.gateway.conversation.asked import Asked, AskedQuestion
from services.gateway.conversation.question import Question
from services.gateway.conversation.request import TurnRequest
from services.gateway.events.session import SamplingConfig, SessionConfig
from services.gateway.settings import MediaSettings
from services.gateway.turn.generate import Prompt, opening_of


def piece(*values: int) -> Tensor:
    """[len(values), 1]"""
    return Tensor(dtype="uint8", shape=[len(values), 1], data=bytes(values))


async def asked() -> tuple[Asked, Prompt, Question]:
    question = Question(True, 16_000, MediaSettings())
    question.add_audio(bytes(16_000))
    question.transcript, question.weights = "what", "w"
    for tensor in (piece(1, 2), piece(3)):
        question.embeddings.append(tensor)
    question.embeddings.close()
    question.name_utterance()
    question.texts.append("and this?")
    question.end()
    image = EmbeddingRef(weights="v", hash="h", length=4)
    earlier = Message(role=Message.ROLE_USER, parts=[Part(utterance=EmbeddingRef(weights="w", hash="x", length=2))])
    prompt = Prompt([earlier], [Part(text="first")], sampling=Sampling(seed=9, max_tokens=5), max_history_tokens=7)
    for part in (*prompt.opening, Part(image=image)):
        prompt.parts.append(part)
    await question.write_speech(prompt.parts, lambda tail: False)
    question.write_texts(prompt.parts)
    config = SessionConfig(sampling=SamplingConfig(max_tokens=5), speaker="default", instructions="be brief")
    request = TurnRequest(config, explicit=True, client={"metadata": {"a": "b"}})
    return Asked.of(question, "mine", request, 9, prompt, {"llm_core": "w"}), prompt, question


async def test_the_prompt_is_the_same_after_redis():
    kept, prompt, question = await asked()
    read = Asked.model_validate_json(kept.model_dump_json())
    assert read == kept
    again = read.prompt(question.speech())
    assert opening_of(again) == opening_of(prompt)
    joined = Part(speech=piece(1, 2, 3))
    assert list(again.opening) == [*prompt.parts.items[:2], joined, Part(text="and this?")]
    assert read.request.config.sampling.seed == 9 and read.request.client == {"metadata": {"a": "b"}}
    assert read.request.explicit and read.request.answers and read.request.kept
    assert read.refs == [question.utterance]


async def test_the_question_is_as_it_was():
    kept, _, question = await asked()
    again = AskedQuestion(kept, question.speech(), 16_000, MediaSettings())
    again.end()
    assert again.item_parts() == question.item_parts() and again.seconds == question.seconds == 0.5
    assert (again.utterance, again.weights) == (question.utterance, "w")
    assert again.speech() == question.speech()
    assert again.has_content and not again.spoken and again.ended.is_set()
