"""Collating: each sample keeps its ids, labels and places, media are encoded once and keep their order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from parley.config import STATES
from parley.media.image import tile
from parley.models.filter_bank import fbank
from parley.models.parley import Parley
from parley.text.prompt import MediaSegment, PromptWriter
from training.data.collate import Answer, DialogCollator, Medium, Rendered
from training.data.packing import IGNORED
from training.data.sample import Sample
from training.data.world import World
from training.data.world.world import LOOKUPS

WORLD = World(0, "train")


@pytest.fixture(scope="module")
def collate(tiny_config, tiny_tokenizer) -> DialogCollator:
    return DialogCollator(tiny_config, PromptWriter.of(tiny_config.language, tiny_tokenizer))


def batch_of(collate, samples):
    pictures = {}
    return collate.batch([collate.render(sample, pictures) for sample in samples])


def spoken_samples() -> list[Sample]:
    return [WORLD.spoken(WORLD.dialog(2, turns=3), 2, share=1.0), WORLD.small_talk(1), WORLD.negative(4)]


def test_every_utterance_has_its_transcript(collate):
    samples = spoken_samples()
    batch = batch_of(collate, samples)
    expected = [
        part["transcript"]
        for sample in samples for message in sample.messages for part in message["content"] if "transcript" in part
    ]  # fmt: skip
    assert batch.transcripts == expected
    assert len(expected) == len(batch.features) == len(batch.lengths)
    assert int(batch.lengths.max()) == batch.features.shape[1]


def test_a_picture_of_several_samples_is_encoded_once(collate):
    samples = [WORLD.single(i, LOOKUPS) for i in range(8)]
    assert {sample.about["kind"] for sample in samples} <= set(LOOKUPS)
    scenes = [WORLD.single(i).about["scene"] for i in (0, 0, 0, 0, 4, 4, 4, 4)]
    assert [sample.about["scene"] for sample in samples] == scenes
    batch = batch_of(collate, samples)
    assert len(batch.pixels) == 2 and batch.tiles == [1, 1]
    assert batch.media == [(False, 0)] * 4 + [(False, 1)] * 4


def test_pictures_that_are_opened_one_after_the_other_are_not_confused(collate, tiny_config):
    """A picture may get the place in memory of one that is not needed any more, and with it its identity."""

    def question(shade: int) -> Sample:
        picture = Image.new("RGB", (32, 32), (shade, shade, shade))
        content = [{"type": "image", "image": picture}, {"type": "text", "text": "what is it?"}]
        return Sample([{"role": "user", "content": content}, {"role": "assistant", "content": "grey"}], "question")

    pictures = {}
    batch = collate.batch([collate.render(question(shade), pictures) for shade in range(50)])
    expected = [tile(Image.new("RGB", (32, 32), (shade,) * 3), tiny_config.vision) for shade in range(50)]
    assert batch.tiles == [1] * 50
    assert torch.equal(batch.pixels, torch.cat([torch.from_numpy(pixels) for pixels in expected]))


def test_a_batch_without_media_has_none(collate):
    batch = batch_of(collate, [WORLD.small_talk(1)])
    assert batch.pixels is None and batch.features is None and batch.media == [] == batch.transcripts
    assert batch.places.tolist() == []


def test_embeddings_have_no_label_and_keep_their_places(collate):
    """Ids and labels of each sample, one after the other, written without the collator."""
    samples = [*spoken_samples(), WORLD.video(3), WORLD.caption(5)]
    batch, writer = batch_of(collate, samples), collate.writer
    ids, labels, places, kinds = [], [], [], []
    for sample, length in zip(samples, batch.segments.lengths, strict=True):
        own = []  # (id, whether it is of an answer)
        for segment in writer.render(sample.messages):
            if isinstance(segment, MediaSegment):
                size, begin = length_of(collate, segment), len(ids) + len(own)
                places += range(begin, begin + size)
                kinds.append(segment.kind == "speech")
                own += [(0, False)] * size
            else:
                own += [(id_, segment.answer) for id_ in segment.ids]
        assert len(own) == length
        ids += [id_ for id_, _ in own]
        labels += [id_ if answer else IGNORED for id_, answer in own[1:]] + [IGNORED]
    assert batch.ids.tolist() == ids
    assert batch.labels.tolist() == labels
    assert batch.places.tolist() == places
    assert [speech for speech, _ in batch.media] == kinds


def length_of(collate, segment: MediaSegment) -> int:
    """Embeddings of a medium of the tiny model: a tile has 2 × 2, an utterance a fourth of half of a fourth of its
    frames."""
    if segment.kind == "image":
        return 4 * len(tile(segment.content, collate.config.vision))
    if segment.kind == "video":
        return 4 * len(segment.content)
    frames = len(fbank(segment.content, collate.config.speech))
    return collate.speech_length(frames)


def test_lengths_are_those_that_the_networks_write(tiny_config, collate):
    """Samples are packed before anything is encoded, so a wrong length would shift all that follows."""
    torch.manual_seed(0)
    model = Parley(tiny_config, ("vision_encoder", "vision_adapter", "speech_encoder", "speech_adapter")).eval()
    with torch.no_grad():
        for frames in [*range(12, 29), 203]:
            features, lengths = torch.randn(1, frames, tiny_config.speech.num_mel_bins), torch.tensor([frames])
            _, written = model.speech_adapter(*model.speech_encoder(features, lengths))
            assert collate.speech_length(frames) == int(written) + tiny_config.speech.num_prompt_embeddings, frames
        [medium] = collate.render(WORLD.caption(0), {}).media
        tokens = model.vision_adapter(model.vision_encoder(medium.content))
    assert medium.length == tokens.flatten(0, 1).shape[0]


def test_positions_start_anew_in_each_sample(collate):
    samples = spoken_samples()
    batch = batch_of(collate, samples)
    assert batch.positions.tolist() == [i for length in batch.segments.lengths for i in range(length)]
    assert batch.segments.lengths == tuple(len(collate.render(sample, {}).ids) for sample in samples)


def test_answers_are_the_spans_of_labels(collate):
    samples = spoken_samples()
    batch = batch_of(collate, samples)
    said = [m["content"] for sample in samples for m in sample.messages if m["role"] == "assistant"]
    found = [batch.labels[answer.start : answer.end].tolist() for answer in batch.answers]
    for ids, text in zip(found, said, strict=True):
        assert ids[:-1] == list(collate.writer.text(text)) and ids[-1] in collate.writer.stop_ids
    assert sum(answer.end - answer.start for answer in batch.answers) == int((batch.labels != IGNORED).sum())
    assert [answer.kind for answer in batch.answers][-1] == samples[-1].about.get("kind", samples[-1].task)


def test_a_sample_of_two_answers(collate):
    """By hand: ids 1 to 9, of which 4, 5 and 8, 9 are answers."""
    labels = [IGNORED, IGNORED, 4, 5, IGNORED, IGNORED, 8, 9, IGNORED]
    text, speech = STATES.index("text"), STATES.index("speech")
    answers = [Answer("a", 2, 4, text), Answer("b", 6, 8, speech, 1)]
    first = Rendered([1, 2, 3, 4, 5, 6, 7, 8, 9], labels, [], [], answers)
    medium = Medium(True, torch.zeros(12, 80), start=1, length=3)
    second = Rendered([1, 0, 0, 0, 2], [IGNORED] * 5, [medium], ["hello"], [Answer("c", 3, 3, speech, 0)])
    batch = collate.batch([first, second])
    assert batch.answers == [*answers, Answer("c", 12, 12, speech, 0)]
    assert batch.places.tolist() == [10, 11, 12] and batch.media == [(True, 0)] and batch.transcripts == ["hello"]
    assert batch.states.tolist() == [text, speech, speech] and batch.complete.tolist() == [IGNORED, 1, 0]


def test_of_a_question_cut_short_only_its_state_is_learned(collate, tiny_config, tiny_tokenizer):
    """The state is read where its answer would open; a model whose states are tokens learns this token."""
    whole = WORLD.spoken(WORLD.small_talk(1), 1, share=1.0)
    cut = replace(whole, messages=[whole.messages[0], whole.messages[1] | {"complete": False}])
    language = tiny_config.language.model_copy(update={"state": "tokens"})
    tokens = DialogCollator(tiny_config, PromptWriter.of(language, tiny_tokenizer))
    for writes, states in ((collate, 0), (tokens, len(tokens.writer.state_ids[STATES.index("speech")]))):
        one, other = (writes.render(sample, {}) for sample in (whole, cut))
        assert one.ids == other.ids
        [answer], [asked] = other.answers, one.answers
        assert (asked.complete, answer.complete) == (IGNORED, 0)
        assert answer == replace(asked, end=asked.start + states, complete=0)
        assert other.labels[: answer.end] == one.labels[: answer.end] and set(other.labels[answer.end :]) == {IGNORED}


def test_blank_media_stand_nowhere(tiny_config, collate):
    """A part that is trained must run in every process, also where the samples have nothing for it."""
    always = DialogCollator(tiny_config, collate.writer, ("image", "speech"))
    text, shown_and_spoken = always.render(WORLD.small_talk(1), {}), always.render(WORLD.negative(4), {})
    batch = always.batch([text])
    assert batch.pixels.shape == (1, 3, 32, 32) and len(batch.features) == 1
    assert batch.media == [] and batch.places.tolist() == [] and batch.transcripts == []
    batch = always.batch([text, shown_and_spoken])
    assert len(batch.features) == len(batch.pixels) == 1  # no blank ones beside real ones
    assert batch.media == [(False, 0), (True, 0)]


def test_nothing_is_learned_in_a_blank_pass(tiny_config, collate):
    for kinds in ((), ("image", "speech")):
        blank = DialogCollator(tiny_config, collate.writer, kinds).blank()
        assert len(blank.ids) == 1 and (blank.labels == IGNORED).all()
        assert blank.answers == [] == blank.transcripts and len(blank.states) == 0
