"""The sentences of the world as plain text: for the tokenizer, for speech and for the recogniser."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

from training.data.world import captions, outside, plans, questions, smalltalk, unaddressed
from training.data.world.absent import NO_PICTURE
from training.data.world.questions import PLANS, ask, ask_moves, words_of
from training.data.world.scenes import MOST, scene_of
from training.data.world.smalltalk import small_talk
from training.data.world.splits import belongs, generator, held_out
from training.data.world.videos import draw_motion
from training.data.world.vocabulary import (
    BACKCHANNELS,
    COLOURS,
    COLUMNS,
    DAYS,
    DIRECTIONS,
    LETTERS,
    NUMBERS,
    OPPOSITES,
    OTHER_SPELLINGS,
    PLACES,
    PLURALS,
    ROWS,
    SHAPES,
    SIZES,
    SPELLED,
    WRITTEN,
    one_spelling,
)
from training.data.world.wordings import GAP, PICTURE_NOUNS, SHAPE_NOUNS, UNSEEN, WORDINGS

# How often a sentence of speech is of each sort.
QUESTION_SHARE = {"picture": 6, "video": 1, "small_talk": 4, "unaddressed": 2, "outside": 2}


def strings_in(value: object) -> list[str]:
    """All strings in nested tuples and dictionaries."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for text in strings_in(pair)]
    return [text for item in value for text in strings_in(item)] if isinstance(value, tuple) else []


# Words that are written by code alone, and in no table.
OTHER_WORDS = (
    "there is none are yes it no not the word of opposite after before plus minus moves a one thing shape shapes "
    "nothing so cannot know that objects things"
)
# Every table of words and wordings, by the file it is in.
VOCABULARY = (
    COLOURS, SHAPES, PLURALS, SIZES, PLACES, ROWS, COLUMNS, WRITTEN, DIRECTIONS, NUMBERS, DAYS, OPPOSITES, SPELLED,
    LETTERS, BACKCHANNELS, SHAPE_NOUNS, PICTURE_NOUNS,
)  # fmt: skip
QUESTIONS = (*WORDINGS.values(), *UNSEEN.values(), plans.RELATIONS)
CAPTIONS = (captions.REQUESTS, captions.THINGS, captions.IN_PLACES)
SMALL_TALK = (
    smalltalk.GREETINGS, smalltalk.WHO, smalltalk.ARITHMETIC, smalltalk.OPPOSITE, smalltalk.DAY, smalltalk.SPELL,
    smalltalk.COUNT_TO, smalltalk.COUNT_FROM,
)  # fmt: skip
OUTSIDE = (outside.QUESTIONS, outside.REQUESTS, *outside.FILLINGS.values())
UNADDRESSED = (unaddressed.NAMES, unaddressed.KIN, unaddressed.GOODS, unaddressed.PLACES, unaddressed.SENTENCES)


@cache
def all_words() -> tuple[str, ...]:
    """Every word of the world, letters included, sorted: whatever is generated is made of these."""
    tables = (*VOCABULARY, *QUESTIONS, *CAPTIONS, *SMALL_TALK, *OUTSIDE, *UNADDRESSED)
    texts = [GAP.sub(" ", text) for text in strings_in(tables)]
    return tuple(sorted({word for text in [OTHER_WORDS, *texts] for word in words_of(text)}))


def question(split: str, rng: random.Random, strict: bool = False, plain: bool = False) -> plans.Question:
    """A question of any sort. `strict` gives only sentences that belong to this split and no other; `plain` ones about
    pictures come in few wordings. A word that has two spellings is written as in transcripts."""
    while True:
        sort = rng.choices(*zip(*QUESTION_SHARE.items(), strict=True))[0]
        if sort == "small_talk":
            asked = small_talk(split, rng)
        elif sort == "outside":
            asked = outside.ask(split, rng)
        elif sort == "unaddressed":
            asked = plans.Question("unaddressed", "unaddressed", unaddressed.unaddressed(split, rng), "")
        elif sort == "video":
            motion = draw_motion(rng, split)
            asked = ask_moves(motion.asked.thing, motion.asked.direction, motion.other is None, split, rng)
        else:
            asked = ask(scene_of(rng, split), rng.choice(list(PLANS)), split, rng, plain)
        if asked and not (strict and not belongs(asked.text, split)):
            return replace(asked, text=one_spelling(asked.text))


def answer(split: str, rng: random.Random) -> str:
    """An answer of any sort, sometimes a whole caption; one that belongs to this split, whatever was asked."""
    while True:
        whole = rng.random() < 0.08
        text = captions.caption(scene_of(rng, split)) if whole else question(split, rng).answer
        if text and held_out_answer(text) == (split == "heldout"):
            return text


def held_out_answer(text: str) -> bool:
    """Whether the speech decoder never learns to speak an answer, or a clause, of these words as a whole. Answers
    that are nearly always the same are never held out."""
    said = " ".join(words_of(text))
    return said not in _fixed_answers() and held_out(f"answer: {said}")


@cache
def _fixed_answers() -> frozenset[str]:
    """The words of the answers that are nearly always the same."""
    talk = [answered for _, answered in smalltalk.GREETINGS + smalltalk.WHO]
    counts = [plans.counted(number) for number in range(MOST + 1)]
    moves = [questions.moves(direction) for direction in DIRECTIONS]
    fixed = (*talk, *counts, *moves, plans.there([]), outside.UNKNOWN, outside.CANNOT, NO_PICTURE)
    return frozenset(" ".join(words_of(text)) for text in fixed)


def shuffled_words(rng: random.Random, fewest: int = 2, most: int = 8) -> str:
    """Words of the world in random order, none of which can be guessed from the others."""
    spoken = [word for word in all_words() if len(word) > 1 and word not in OTHER_SPELLINGS]
    return " ".join(rng.choices(spoken, k=rng.randint(fewest, most))) + "."


def corpus(count: int = 20_000, seed: int = 0) -> list[str]:
    """Questions, answers, captions and statements of the training split, and every word once: the tokenizer's text."""
    lines = list(all_words())
    for index in range(count):
        rng = generator("corpus", seed, index)
        asked = question("train", rng, plain=True)
        lines += [asked.text, asked.answer] if asked.answer else [asked.text]
        if index % 10 == 0:
            lines += [text for pair in captions.variants(scene_of(rng, "train"), rng) for text in pair]
    return lines


def bigrams(lines: list[str]) -> str:
    """A bigram model of the lines in ARPA format, for pocketsphinx: absolute discounting, backing off to unigrams."""
    discount = 0.4
    single, double = Counter(), Counter()
    for line in lines:
        words = ["<s>", *words_of(line), "</s>"]
        single.update(words)
        double.update(pairwise(words))
    total = sum(single.values()) - single["<s>"]
    follows, context = Counter(), Counter()
    for (word, _), count in double.items():
        follows[word] += 1
        context[word] += count
    prob = {word: -99.0 if word == "<s>" else math.log10(count / total) for word, count in single.items()}
    seen = Counter()  # the unigram mass of what was seen after a word
    for word, following in double:
        seen[word] += 10 ** prob[following]
    text = ["\\data\\", f"ngram 1={len(single)}", f"ngram 2={len(double)}", "", "\\1-grams:"]
    for word in sorted(single):
        left = discount * follows[word] / context[word] if context[word] else 1.0
        backoff = math.log10(left / max(1e-6, 1 - seen[word]))
        text.append(f"{prob[word]:.4f} {word} {backoff:.4f}")
    text += ["", "\\2-grams:"]
    for (word, following), count in sorted(double.items()):
        text.append(f"{math.log10((count - discount) / context[word]):.4f} {word} {following}")
    return "\n".join([*text, "", "\\end\\", ""])
