"""A complete question with all that its answer is made of, kept so that another gateway can give the same answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from protos.parley.v1.language_model_pb2 import GenerateOpen, Part
from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.question import Question, to_wire
from services.gateway.conversation.request import TurnRequest
from services.gateway.events.items import ItemPart, Ref
from services.gateway.events.session import SessionConfig
from services.gateway.settings import MediaSettings
from services.gateway.turn.generate import Prompt, opening_of, prompt_of
from services.gateway.turn.input_log import InputLog


class Asked(BaseModel):
    """Embeddings are not in it, only their references."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    question_id: str
    config: SessionConfig  # with the seed of the sampling
    explicit: bool
    client: dict[str, Any]
    items: list[ItemPart]  # parts of the question's item
    utterance: Ref | None  # its speech
    audio_seconds: float
    weights: dict[str, str]  # service → name of the weights that answer
    opening: bytes  # `GenerateOpen`
    parts: list[bytes]  # `Part`s of the new message, its speech by reference

    @classmethod
    def of(
        cls,
        question: Question,
        question_id: str,
        request: TurnRequest,
        seed: int,
        prompt: Prompt,
        weights: dict[str, str],
    ) -> Asked:
        """`prompt`: complete."""
        sampling = request.config.sampling.model_copy(update={"seed": seed})
        return cls(
            question_id=question_id,
            config=request.config.model_copy(update={"sampling": sampling}),
            explicit=request.explicit,
            client=dict(request.client),
            items=question.item_parts(),
            utterance=question.utterance,
            audio_seconds=question.seconds,
            weights=weights,
            opening=opening_of(prompt).SerializeToString(),
            parts=[part.SerializeToString() for part in _by_reference(prompt.parts.items, question.utterance)],
        )

    @property
    def request(self) -> TurnRequest:
        return TurnRequest(self.config, explicit=self.explicit, client=self.client)

    @property
    def refs(self) -> list[Ref]:
        """Of the embeddings that the question is made of."""
        return [part.ref for part in self.items if part.ref is not None]

    def prompt(self, speech: Tensor | None) -> Prompt:
        """What the language model was given. `speech`: what `utterance` names."""
        prompt = prompt_of(GenerateOpen.FromString(self.opening))
        utterance = to_wire(self.utterance) if self.utterance is not None else None
        parts = map(Part.FromString, self.parts)
        prompt.opening = [Part(speech=speech) if part.utterance == utterance else part for part in parts]
        return prompt


def _by_reference(parts: list[Part], utterance: Ref | None) -> list[Part]:
    """The pieces of the question's speech, which is one utterance, become one reference."""
    kept: list[Part] = []
    for part in parts:
        if not part.HasField("speech"):
            kept.append(part)
        elif not (kept and kept[-1].utterance == to_wire(utterance)):
            kept.append(Part(utterance=to_wire(utterance)))
    return kept


class AskedQuestion(Question):
    """A question that another gateway was asked. It is complete, and its prompt is not made of it but kept."""

    def __init__(self, asked: Asked, speech: Tensor | None, sample_rate: int, settings: MediaSettings):
        super().__init__(False, sample_rate, settings)
        self._asked = asked
        self.utterance = asked.utterance
        self.weights = asked.utterance.weights if asked.utterance is not None else ""
        if speech is not None:
            self.embeddings.append(speech)

    @property
    def has_content(self) -> bool:
        return bool(self._asked.items)

    @property
    def seconds(self) -> float:
        return self._asked.audio_seconds

    def item_parts(self) -> list[ItemPart]:
        return list(self._asked.items)

    async def write_images(self, parts: InputLog[Part]) -> None:
        pass
