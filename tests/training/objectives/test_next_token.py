"""The dialogue objective reads what the served model reads, learns answers only, and knows which state is whose."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from parley.config import STATES
from parley.media.messages import read_media
from parley.models.parley import Parley
from parley.text.prompt import MediaSegment, TextSegment
from training.attention import packed, use_packed_attention
from training.data.packing import IGNORED
from training.data.sample import Sample
from training.data.world import World
from training.objectives.next_token import NextTokenObjective, Speech
from training.recipe import Schedule, find_stage
from training.stages.world_data import WorldData, sources, spoken
from training.trainer import freeze

TRAIN = World(0, "train")
MIXTURE = {"spoken_questions": 50, "negatives": 50}
SCHEDULE = Schedule(lr=1e-3, steps=2, batch=4, sequence_length=2048, tokens=2048, mixture=MIXTURE)


def make_objective(name: str, config, tokenizer, schedule: Schedule = SCHEDULE) -> NextTokenObjective:
    stage = find_stage(name)
    torch.manual_seed(0)
    model = Parley(config, stage.loads).eval()
    model.tokenizer = tokenizer
    use_packed_attention(model.language)
    return NextTokenObjective(stage, model, WorldData(stage, schedule, 0, tokenizer), 0)


@pytest.fixture(scope="module")
def objective(tiny_config, tiny_tokenizer):
    return make_objective("2.2", tiny_config, tiny_tokenizer)


@pytest.fixture(scope="module")
def samples():
    """A written dialogue, spoken ones with and without a picture, a video, turns that are not for us, and a question
    known as complete."""
    negatives = next(
        s for s in (sources(TRAIN)["negatives"](i) for i in range(20)) if any("state" in m for m in s.messages)
    )
    return [
        TRAIN.small_talk(1, turns=2),
        spoken(TRAIN, 2, TRAIN.dialog(2, turns=3), share=1.0),
        TRAIN.video(3),
        negatives,
        known(spoken(TRAIN, 4, TRAIN.small_talk(4), share=1.0), complete=True),
    ]


def known(sample: Sample, complete: bool) -> Sample:
    """The sample of one question, which is known as complete or was cut short."""
    asked, answer = sample.messages
    return replace(sample, messages=[asked, answer | {"complete": complete}])


def batch_of(objective, samples):
    pictures = {}
    return objective.collate.batch([objective.collate.render(sample, pictures) for sample in samples])


@pytest.fixture(scope="module")
def batch(objective, samples):
    return batch_of(objective, samples)


def summed(objective, batch, training: bool = True) -> dict[str, torch.Tensor]:
    """The sums of a batch, all parts but the objective in inference mode: nothing is drawn at random."""
    objective.training = training
    try:
        return objective(batch, 0)
    finally:
        objective.training = False


@pytest.fixture
def own_attention(objective):
    """The model as it is served."""
    objective.model.language.set_attn_implementation("sdpa")
    yield
    use_packed_attention(objective.model.language)


def alone(model, sample) -> torch.Tensor:
    """The hidden states [tokens, d] of a sample as the served model reads it."""
    embedded = model.embed(read_media(sample.messages, model.config), open_assistant=False)[None]
    return model.language.model(inputs_embeds=embedded).last_hidden_state[0]


def test_packed_samples_are_read_as_the_served_model_reads_each_alone(objective, samples, batch, own_attention):
    with torch.no_grad():
        with packed(objective.model.language):
            hidden, _ = objective.hidden_states(batch)
        for sample, found in zip(samples, hidden.split(batch.segments.lengths), strict=True):
            torch.testing.assert_close(found, alone(objective.model, sample), atol=1e-4, rtol=1e-4)


def test_only_answers_are_learned(objective, samples, batch):
    writer = objective.collate.writer
    for sample, labels in zip(samples, batch.labels.split(batch.segments.lengths), strict=True):
        expected = []
        for message in sample.messages:
            if message["role"] == "assistant":
                expected += [*writer.text(message["content"]), *writer.stop_ids]
        assert labels[labels != IGNORED].tolist() == expected


def test_states_stand_where_answers_open(objective, samples, batch):
    opens = objective._opens(batch)
    assistant = objective.collate.writer.tokenizer.token_to_id("<|assistant|>")
    assert batch.ids[opens].tolist() == [assistant] * len(opens)
    owner = torch.bucketize(opens, batch.segments.offsets[1:], right=True).tolist()
    found: dict[int, list[str]] = {}
    for number, state in zip(owner, batch.states.tolist(), strict=True):
        found.setdefault(number, []).append(STATES[state])
    assert found[0] == ["text", "text"]
    assert set(found[1]) == {"speech"}
    assert found[2] == ["text"]
    assert "nothing" in found[3]
    assert found[4] == ["speech"]


def test_the_losses_are_sums_over_answers_of_each_sample_alone(objective, samples, batch, own_attention):
    """Cross entropy of tokens and of states, and the CTC loss of each utterance over its letters: one by one."""
    model, writer = objective.model, objective.collate.writer
    with torch.no_grad():
        with packed(model.language):
            found = summed(objective, batch)
        tokens, states, ctc = 0.0, 0.0, 0.0
        numbers = iter(batch.states)
        for sample in samples:
            hidden, at = alone(model, sample), 0
            for segment in writer.render(sample.messages):
                if is_answer(segment):
                    ids = torch.tensor(segment.ids)
                    logits = model.language.lm_head(hidden[at - 1 : at - 1 + len(ids)])
                    tokens += F.cross_entropy(logits, ids, reduction="sum")
                    states += F.cross_entropy(model.state_head(hidden[at - 1]), next(numbers))
                    ends = -torch.log(torch.sigmoid(model.end_of_turn_head(hidden[at - 1])))[0]
                medium = isinstance(segment, MediaSegment)
                at += objective.collate._medium(segment, 0, {}).length if medium else len(segment.ids)
        for features, length, text in zip(batch.features, batch.lengths, batch.transcripts, strict=True):
            if text:
                frames, lengths = model.speech_encoder(features[None, :length], length[None])
                ids = torch.tensor(model.ctc_head.vocabulary.encode(text))
                log_probs = model.ctc_head(frames)[0][:, None]
                loss = F.ctc_loss(log_probs, ids[None], lengths, torch.tensor([len(ids)]), reduction="sum")
                ctc += loss / len(ids) if loss.isfinite() else 0
    torch.testing.assert_close(found["next_token"], tokens, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found["state"], states, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["complete"], ends, rtol=1e-4, atol=1e-4)  # of the last sample alone
    assert found["cut_short"] == 0
    torch.testing.assert_close(found["ctc"], ctc, rtol=1e-4, atol=1e-3)
    counts = objective.counts(batch)
    assert counts == {
        "tokens": sum(len(s.ids) for sample in samples for s in writer.render(sample.messages) if is_answer(s)),
        "answers": sum(m["role"] == "assistant" for sample in samples for m in sample.messages),
        "complete": 1,
        "cut_short": 0,
        "transcripts": sum(map(bool, batch.transcripts)),
        "positions": sum(batch.segments.lengths),
    }


def is_answer(segment) -> bool:
    return isinstance(segment, TextSegment) and segment.answer


def test_each_stage_has_the_terms_that_it_learns(tiny_config, tiny_tokenizer):
    terms = {
        "1.1": {"next_token"},
        "2.1b": {"next_token"},
        "2.2": {"next_token", "state", "complete", "cut_short", "ctc", "unfit"},
    }
    for name, expected in terms.items():
        objective = make_objective(name, tiny_config, tiny_tokenizer)
        assert set(objective.terms) == expected
        blank = objective.blank()
        assert {term.per for term in objective.terms.values()} <= set(objective.counts(blank))
        with torch.no_grad():
            found = summed(objective, blank)
        assert set(found) == expected and not any(value.any() for value in found.values())


@pytest.mark.parametrize("name", ["1.1", "1.2", "2.1b", "2.2"])
@pytest.mark.parametrize("media", ["text alone", "blank"])
def test_a_pass_without_media_gives_every_trained_part_a_gradient(name, media, tiny_config, tiny_tokenizer):
    """Of zeros for adapters, which is what they are learned from it. That was an uncaught error in 1.1 and 2.1b; and
    processes that share a step wait for the gradients of each other."""
    objective = make_objective(name, tiny_config, tiny_tokenizer)
    freeze(objective, objective.stage)
    batch = objective.blank() if media == "blank" else batch_of(objective, [TRAIN.small_talk(1)])
    sum(objective(batch, 0).values()).backward()
    for part in objective.stage.trains:
        gradients = [p.grad for p in getattr(objective.model, part).parameters() if p.requires_grad]
        reached = [gradient for gradient in gradients if gradient is not None]
        assert reached, part
        learns = media == "text alone" and part in ("language", "state_head")
        assert any(gradient.any() for gradient in reached) == learns, part


def test_of_a_question_cut_short_nothing_is_learned_but_its_state_and_that(objective, samples):
    """The head's probabilities of both add up to 1, and no token is learned."""
    cut = known(samples[-1], complete=False)
    batches = [batch_of(objective, [one]) for one in (samples[-1], cut)]
    with torch.no_grad(), packed(objective.model.language):
        whole, short = (summed(objective, batch) for batch in batches)
    assert whole["cut_short"] == short["complete"] == 0
    torch.testing.assert_close(torch.exp(-whole["complete"]) + torch.exp(-short["cut_short"]), torch.tensor(1.0))
    torch.testing.assert_close(whole["state"], short["state"])
    assert whole["next_token"] > 0 and short["next_token"] == 0
    counts = objective.counts(batches[1])
    assert (counts["complete"], counts["cut_short"], counts["answers"], counts["tokens"]) == (0, 1, 1, 0)


def test_speech_too_short_for_its_text_is_counted(objective):
    frames = torch.zeros(2, 2, objective.model.config.speech.hidden_size)
    texts = ["a", "a sentence with more letters than four slots hold"]
    sums = objective._ctc(Speech(frames, torch.tensor([2, 2])), texts)
    assert float(sums["unfit"]) == 1
    fits = objective._ctc(Speech(frames[:1], torch.tensor([2])), texts[:1])
    torch.testing.assert_close(sums["ctc"], fits["ctc"])  # the other one adds nothing


def test_a_right_answer_is_what_greedy_decoding_writes(objective):
    """Teacher forcing and decoding must agree on what is right, before the answer is learned and after."""
    sample = TRAIN.small_talk(0)
    expected = sample.messages[1]["content"]
    model = copy.deepcopy(objective.model)
    model.language.set_attn_implementation("sdpa")
    alone = NextTokenObjective(objective.stage, model, objective.data, 0)

    def right() -> bool:
        [answer] = alone.score([sample])
        written = model.reply(sample.messages[:1], max_tokens=24, speak=False, always=True).text
        assert answer.right == (written == expected)
        return answer.right

    assert not right()
    learn(alone, sample, 150)
    assert right()


def learn(objective, sample, steps: int) -> None:
    """Teaches the language model one sample."""
    optimizer = torch.optim.Adam(objective.model.language.parameters(), 1e-2)
    batch = batch_of(objective, [sample])
    for _ in range(steps):
        optimizer.zero_grad()
        with packed(objective.model.language):
            summed(objective, batch)["next_token"].backward()
        optimizer.step()


def test_the_figures_are_those_of_each_answer(tiny_config, tiny_tokenizer, samples):
    """`summary` over sums of passes, against the answers one after the other."""
    shares = replace(SCHEDULE, shares={"questions": 1.0})
    objective = make_objective("2.2", tiny_config, tiny_tokenizer, shares)
    cut = replace(known(samples[-1], complete=False), about={"kind": "cut"})
    samples = [cut, *samples, TRAIN.small_talk(0)]
    objective.data.__dict__["probe"] = samples
    learn(objective, samples[-1], 60)  # so that some answers are right
    scored = objective.score(samples, size=2)
    assert 0 < sum(answer.right for answer in scored) < len(scored)
    kinds = [sample.about.get("kind", sample.task) for sample in samples]
    said = [m for sample in samples for m in sample.messages if m["role"] == "assistant"]
    assert len(scored) == len(said)

    totals: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for rank in range(2):
            for batch in objective.probe(rank, 2):
                for name, value in summed(objective, batch, training=False).items():
                    totals[name] = totals.get(name, 0) + value
    figures = objective.summary(totals)
    assert "cut" not in figures  # it has no answer that could be right
    for kind in set(kinds) - {"cut"}:
        mine = [answer for answer in scored if answer.kind == kind]
        assert figures[kind] == pytest.approx(100 * sum(answer.right for answer in mine) / len(mine))
        own = [sample for sample, each in zip(samples, kinds, strict=True) if each == kind]
        losses, rights = zip(*(_loss_and_right(objective, sample) for sample in own), strict=True)
        losses, rights = torch.cat(losses), torch.cat(rights)
        assert figures[f"{kind}_loss"] == pytest.approx(losses.mean().item(), rel=1e-4)
        assert figures[f"{kind}_token_accuracy"] == pytest.approx(100 * rights.float().mean().item(), rel=1e-4)
    states = [answer.state == answer.predicted_state for answer in scored]
    assert figures["state"] == pytest.approx(100 * sum(states) / len(states))
    asked = [answer for answer in scored if answer.complete is not None]
    assert {answer.complete for answer in asked} == {False, True}
    ends = [answer.complete == answer.predicted_complete for answer in asked]
    assert figures["end_of_turn"] == pytest.approx(100 * sum(ends) / len(ends))


@torch.no_grad()
def _loss_and_right(objective, sample):
    """Of each token of the answers of a sample that is read alone."""
    language = objective.model.language
    language.set_attn_implementation("sdpa")
    logits = language.lm_head(alone(objective.model, sample))
    use_packed_attention(language)
    labels = batch_of(objective, [sample]).labels
    learned = labels != IGNORED
    return F.cross_entropy(logits, labels, reduction="none")[learned], (logits.argmax(-1) == labels)[learned]


def test_a_blank_pass_changes_no_figure(objective, samples):
    objective.data.__dict__["probe"] = samples
    with torch.no_grad():
        [batch] = objective.probe(0, 1)
        table = summed(objective, batch, training=False)["kinds"]
        blank = summed(objective, objective.blank(), training=False)["kinds"]
    assert blank.shape == table.shape and not blank.any()


def test_batches_are_a_function_of_seed_and_step(objective):
    [one], [same] = (objective.passes(objective.numbers(3), 3) for _ in range(2))
    assert one.transcripts == same.transcripts and one.answers[0].kind == same.answers[0].kind
    # espeak-ng's own pitch flutter makes an utterance a few samples longer or shorter from one call to the next.
    assert torch.allclose(one.lengths.float(), same.lengths.float(), atol=3)
    assert objective.numbers(3) == [12, 13, 14, 15]


def test_a_step_is_split_into_passes_of_a_bounded_size(tiny_config, tiny_tokenizer):
    """And its sums are those of one pass."""
    small = replace(SCHEDULE, sequence_length=64, tokens=200, mixture={"small_talk": 100}, batch=20)
    objective = make_objective("0.1", tiny_config, tiny_tokenizer, replace(small, sequence_length=400, tokens=400))
    passes = objective.passes(objective.numbers(0), 0)
    assert len(passes) > 1 and max(len(batch.ids) for batch in passes) <= 400
    objective.schedule = replace(objective.schedule, tokens=100_000)
    [whole] = objective.passes(objective.numbers(0), 0)
    with torch.no_grad():
        parts = sum(summed(objective, batch)["next_token"] for batch in passes)
        torch.testing.assert_close(parts, summed(objective, whole)["next_token"], rtol=1e-5, atol=1e-3)
    for name, count in objective.counts(whole).items():
        assert sum(objective.counts(batch)[name] for batch in passes) == count


def test_a_sample_longer_than_a_sequence_is_named(tiny_config, tiny_tokenizer):
    short = replace(SCHEDULE, sequence_length=32, mixture={"small_talk": 100})
    objective = make_objective("0.1", tiny_config, tiny_tokenizer, short)
    tokens = len(objective.collate.render(objective.data.mixture[4], {}).ids)
    message = rf"sample 4 of small_talk: {tokens} tokens; a sequence holds 32: raise --sequence-length"
    with pytest.raises(ValueError, match=message):
        objective.passes([4, 5], 1)


def test_a_sample_without_an_answer_is_named(tiny_config, tiny_tokenizer, monkeypatch):
    objective = make_objective("0.1", tiny_config, tiny_tokenizer, replace(SCHEDULE, mixture={"small_talk": 100}))
    sample = objective.data.mixture[7]
    asked = replace(sample, messages=sample.messages[:1])
    monkeypatch.setattr(type(objective.data.mixture), "__getitem__", lambda mixture, number: asked)
    with pytest.raises(ValueError, match="sample 7 of small_talk: there is no answer to learn"):
        objective.passes([7], 1)
