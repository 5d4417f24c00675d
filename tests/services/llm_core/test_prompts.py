"""Messages to pieces: markup, references, and how much of a history is read."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import tensor_pb2
from services.llm_core.pieces import Piece, Placeholder
from services.llm_core.prompts import PromptReader
from services.rpc import tensors


@pytest.fixture
def reader(tiny_config, tiny_tokenizer) -> PromptReader:
    return PromptReader(tiny_config.language, tiny_tokenizer, torch.full((2, 48), 0.5), torch.float32)


def ref(length: int) -> tensor_pb2.EmbeddingRef:
    return tensor_pb2.EmbeddingRef(weights="w", hash="h", length=length)


def message(role: str, *parts: pb.Part | str) -> pb.Message:
    parts = [pb.Part(text=part) if isinstance(part, str) else part for part in parts]
    return pb.Message(role=f"ROLE_{role.upper()}", parts=parts)


def kinds(items: list) -> list:
    """Text, the length of embeddings, or the length of a placeholder as text."""
    return [
        f"ref {len(item)}" if isinstance(item, Placeholder) else "text" if item.embeddings is None else len(item)
        for item in items
    ]


def test_live_speech_in_a_row_is_one_utterance(reader):
    speech = pb.Part(speech=tensors.from_torch(torch.randn(3, 48)))
    assert kinds(reader.part(speech, after="")) == [2, 3]
    assert kinds(reader.part(speech, after="speech")) == [3]
    empty = pb.Part(speech=tensors.from_torch(torch.zeros(0, 48)))
    assert reader.part(empty, after="") == []


def test_every_earlier_utterance_has_its_own_speech_prompt(reader):
    spoken, seen = pb.Part(utterance=ref(7), fallback="hello"), pb.Part(image=ref(4))
    items, dropped = reader.history([message("user", seen, spoken, "hi", spoken)])
    assert kinds(items) == ["text", "ref 4", "ref 9", "text", "ref 9", "text"] and dropped == 0
    speech = Piece([-1] * 7, torch.zeros(7, 48))
    assert kinds(items[2].filled(speech)) == [2, 7]
    assert items[2].replaced() == [Piece(reader.writer.text("hello"))]
    assert items[1].replaced() == []


def lengths(reader: PromptReader, messages: list[pb.Message]) -> list[int]:
    """Positions that each message adds to the history."""
    totals = [sum(map(len, reader.history(messages[:end])[0])) for end in range(len(messages) + 1)]
    return [after - before for before, after in pairwise(totals)]


@pytest.mark.parametrize("state", ["head", "tokens"])
def test_a_history_is_cut_at_exact_counts(tiny_config, tiny_tokenizer, state):
    config = tiny_config.language.model_copy(update={"state": state})
    reader = PromptReader(config, tiny_tokenizer, torch.full((2, 48), 0.5), torch.float32)
    messages = [
        message("system", "be brief."),
        message("user", pb.Part(image=ref(30)), "what is it?"),
        message("assistant", "it is five."),
        message("user", pb.Part(utterance=ref(11))),
        message("assistant", "i am parley."),
    ]
    counts = lengths(reader, messages)
    assert counts[1] > 30 and counts[3] > 13
    for max_tokens, dropped in (
        (sum(counts[1:]), 0),
        (sum(counts[1:]) - 1, 2),
        (sum(counts[3:]), 2),
        (sum(counts[3:]) - 1, 4),  # an answer alone is not read: the history begins with a user's message
        (1, 4),
        (0, 0),
    ):
        items, left_out = reader.history(messages, max_tokens)
        assert left_out == dropped
        whole, _ = reader.history([messages[0], *messages[1 + dropped :]])
        assert kinds(items) == kinds(whole) and sum(map(len, items)) == sum(map(len, whole))


def test_without_a_system_prompt_all_messages_count(reader):
    messages = [message("assistant", "hello."), message("user", "hi"), message("assistant", "five")]
    assert reader.history(messages, 1000)[1] == 1
    assert reader.history(messages)[1] == 0
    assert reader.history([], 5)[1] == 0


@pytest.mark.parametrize(
    ("messages", "max_tokens", "says"),
    [
        ([pb.Message()], 0, "message 0 has no role"),
        ([message("user", "hi"), message("system", "late")], 0, "message 1: a system message comes first"),
        ([message("user", pb.Part())], 0, "message 0: a part is empty"),
        ([message("user", pb.Part(speech=tensor_pb2.Tensor()))], 0, "sent by reference, as `utterance`"),
        ([message("user", pb.Part(image=ref(0)))], 0, "states 0 embeddings"),
        ([message("user", pb.Part(image=tensor_pb2.EmbeddingRef(weights="w", length=1)))], 0, "hash has 0 characters"),
        ([message("user", pb.Part(image=tensor_pb2.EmbeddingRef(hash="h", length=1)))], 0, "weights has 0 characters"),
        ([message("assistant", pb.Part(image=ref(3)))], 0, "only.* user"),
        ([], -1, "max_history_tokens is -1"),
    ],
)
def test_what_cannot_be_read_is_refused(reader, messages, max_tokens, says):
    with pytest.raises(ValueError, match=says):
        reader.history(messages, max_tokens)
