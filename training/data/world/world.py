"""The world as samples: every method is a pure function of (seed, split, index).

The strings given to `World.rng` seed random numbers. Another string would give other samples.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from training.data.sample import Sample
from training.data.world.captions import REQUESTS, caption, variants
from training.data.world.pictures import USUAL_SHARE, Style, any_style, cell_labels, draw
from training.data.world.questions import PICTURE_KINDS, Question, ask, ask_moves
from training.data.world.recording import Recording, recorded
from training.data.world.scenes import Scene, draw_crowd, scene_of
from training.data.world.sentences import answer, question
from training.data.world.smalltalk import small_talk
from training.data.world.splits import check_split, generator
from training.data.world.spoken import Utterance, say, speak_questions, unaddressed_turn
from training.data.world.videos import draw_frames, draw_motion
from training.data.world.voices import Voice, draw_voice
from training.data.world.wordings import WORDINGS

# How often each kind is asked: kinds that are hard to learn more often. "absent" is what the picture does not have.
KIND_WEIGHTS = {
    "colour": 2, "shape": 3, "count": 6, "where": 3, "relation": 5, "is_there": 5, "written": 2, "absent": 3,
}  # fmt: skip
# The same for questions with dropped words: more of the kinds that are asked in many wordings.
WORD_DROPOUT_WEIGHTS = {
    "colour": 4, "shape": 5, "count": 5, "where": 1, "relation": 2, "is_there": 2, "written": 1, "absent": 2,
}  # fmt: skip
# The kinds that are answered by finding one thing and naming what is asked of it.
LOOKUPS = {"colour": 3, "shape": 3, "where": 7, "written": 4}


@dataclass(frozen=True)
class World:
    """One split of the world under one seed.

    The seed decides what comes at an index; what is held out is decided by content, so it is the same for every seed.
    """

    seed: int = 0
    split: str = "train"  # or "heldout"
    usual: float = USUAL_SHARE  # of the pictures and videos: how many are drawn in the usual style

    def __post_init__(self):
        check_split(self.split)

    def rng(self, *names: object) -> random.Random:
        """A random generator for one thing of this world."""
        return generator(self.seed, self.split, *names)

    # Pictures

    def style(self, *names: object) -> Style:
        """How one picture or video is drawn."""
        return any_style(self.rng("style", *names), self.usual)

    def scene(self, index: int) -> Scene:
        return scene_of(self.rng("scene", index), self.split, self.style(index).counts)

    def picture(self, index: int) -> tuple[Scene, Image.Image]:
        """A scene and its picture, RGB 96×96. Recent pictures are cached."""
        return _picture(self, index)

    def cells(self, index: int) -> tuple[Image.Image, dict]:
        """A picture and what each cell holds (`pictures.cell_labels`): the vision encoder's pretraining. Two of three
        training pictures are of a crowd of things."""
        if self.split == "train" and index % 3:
            rng = self.rng("crowd", index)
            scene = draw_crowd(rng)
            return draw(scene, rng, self.style("crowd", index)), cell_labels(scene)
        scene, image = self.picture(index)
        return image, cell_labels(scene)

    def dialog(
        self, index: int, turns: int = 6, small_talk_share: float = 0.05, captioned: float = 0.1, plain: bool = False
    ) -> Sample:
        """Up to `turns` different questions about one picture, `plain` ones in few wordings; some begin with a caption,
        a few have small talk."""
        rng = self.rng("dialog", index)
        scene, image = self.picture(index)
        pairs, seen = [], set()
        if rng.random() < captioned:
            pairs.append((rng.choice(REQUESTS), caption(scene)))
        for _ in range(2 * turns):
            if rng.random() < small_talk_share:
                question = small_talk(self.split, rng)
            else:
                question = ask(scene, draw_kind(KIND_WEIGHTS, rng), self.split, rng, plain)
            if question and question.text not in seen and len(pairs) < turns:
                seen.add(question.text)
                pairs.append((question.text, question.answer))
        return Sample(to_messages(pairs, image=image), "question", "text", {"scene": str(scene)})

    def single(
        self, index: int, weights: Mapping[str, float] = KIND_WEIGHTS, share: int = 4, plain: bool = False
    ) -> Sample:
        """One question about one picture, and the next ones, `share` in all, about the same picture; each kind as often
        as `weights` says where the picture allows it; `plain` ones in few wordings."""
        rng = self.rng("single", index)
        scene, image = self.picture(index // share)
        while True:
            if question := ask(scene, draw_kind(weights, rng), self.split, rng, plain):
                return self.asked(question, "question", image=image, scene=str(scene))

    def question(
        self,
        index: int,
        kind: str | None = None,
        table: Mapping[str, tuple[str, ...]] = WORDINGS,
        plain: bool = False,
    ) -> Sample:
        """One question about one picture, in a wording of the table, a `plain` one in its first; `about` tells kind,
        form and scene."""
        rng = self.rng("question", kind, index)
        style = self.style("question", kind, index)
        kind = kind or rng.choice(PICTURE_KINDS)
        while True:
            scene = scene_of(rng, self.split, style.counts)
            question = ask(scene, kind, self.split, rng, plain, table)
            if question:
                return self.asked(question, "question", image=draw(scene, rng, style), scene=str(scene))

    def caption(self, index: int) -> Sample:
        """A picture and its caption."""
        rng = self.rng("caption", index)
        scene, image = self.picture(index)
        return Sample(
            to_messages([(rng.choice(REQUESTS), caption(scene))], image=image), "caption", "text", {"scene": str(scene)}
        )

    def caption_variants(self, index: int) -> Sample:
        """A picture with two captions of different variants."""
        rng = self.rng("telling", index)
        scene, image = self.picture(index)
        pairs = rng.sample(variants(scene, rng), 2)
        return Sample(to_messages(pairs, image=image), "caption", "text", {"scene": str(scene)})

    def video(self, index: int, turns: int = 1) -> Sample:
        """Four frames and which way a shape in them moves, asked `turns` times in different wordings."""
        rng = self.rng("video", index)
        style = self.style("video", index)
        motion = draw_motion(rng, self.split, style)
        frames = draw_frames(motion, rng, style)
        way, alone = motion.asked, motion.other is None
        asked = [ask_moves(way.thing, way.direction, alone, self.split, rng) for _ in range(turns)]
        pairs = list(dict.fromkeys((question.text, question.answer) for question in asked))
        return Sample(to_messages(pairs, video=frames), "video", "text", {"kind": "moves", "scene": str(motion)})

    # Talk

    def small_talk(self, index: int, turns: int = 1, kind: str | None = None) -> Sample:
        """Questions that need no picture."""
        rng = self.rng("small talk", kind, index)
        if turns == 1:
            return self.asked(small_talk(self.split, rng, kind), "small_talk")
        pairs = [
            (question.text, question.answer) for question in (small_talk(self.split, rng, kind) for _ in range(turns))
        ]
        return Sample(to_messages(list(dict.fromkeys(pairs))), "small_talk")

    # Speech

    def utterance(
        self,
        index: int,
        unseen_voice: bool = False,
        unseen_speed: bool = False,
        voice: Voice | None = None,
        record: Recording = recorded,
    ) -> Utterance:
        """Recorded speech at 16 kHz of a sentence that is of this split alone, in `voice`, or one of espeak-ng's.

        Raises `ValueError` if the training split is asked for a voice or a speed that is held out.
        """
        if self.split == "train" and (unseen_voice or unseen_speed):
            raise ValueError("unseen voices and speeds are held out; the training split has none")
        rng = self.rng("utterance", index)
        rng.random()  # so that the held-out sets stay those that earlier checkpoints were measured on
        text = question(self.split, rng, strict=True).text
        return say(text, voice or draw_voice(rng, unseen_voice, unseen_speed), rng, record)

    def answer_text(self, index: int) -> str:
        """An answer, to be spoken."""
        rng = self.rng("answer", index)
        rng.random()  # as above
        return answer(self.split, rng)

    def spoken(self, sample: Sample, index: int, share: float = 0.5, negatives: float = 0.0, **voice) -> Sample:
        """The sample with a share of its questions spoken (`spoken.speak_questions`)."""
        return speak_questions(sample, self.split, self.rng("spoken", index), share, negatives, **voice)

    def negative(
        self, index: int, voice: Voice | None = None, record: Recording = recorded, sort: str = "", text: str = ""
    ) -> Sample:
        """A turn that must not be answered (`spoken.unaddressed_turn`), often with a picture or after a question that
        was answered. What is said is said by `voice`, or by one of espeak-ng's."""
        rng = self.rng("negative", index)
        before = self.question(index).messages if rng.random() < 0.5 else []
        voice = voice or draw_voice(rng)
        messages = unaddressed_turn(self.split, voice, rng, record, sort, text)
        kind = messages[0]["content"][0]["sort"]
        if before and rng.random() < 0.5:
            picture = [part for part in before[0]["content"] if part["type"] == "image"]
            messages[0]["content"] = picture + messages[0]["content"]
            before = []
        return Sample(before + messages, "negative", "nothing", {"voice": voice.name, "kind": kind})

    def asked(self, question: Question, task: str, scene: str = "", **media) -> Sample:
        about = {"kind": question.kind, "form": question.form} | ({"scene": scene} if scene else {})
        return Sample(to_messages([(question.text, question.answer)], **media), task, "text", about)


def draw_kind(weights: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


@lru_cache(maxsize=512)
def _picture(world: World, index: int) -> tuple[Scene, Image.Image]:
    scene = world.scene(index)
    return scene, draw(scene, world.rng("pixels", index), world.style(index))


def to_messages(pairs: list[tuple[str, str]], **media) -> list[dict]:
    """Messages of (question, answer) pairs; media (image=, video=) stand in front of the first question."""
    messages: list[dict] = []
    for asked, answered in pairs:
        content = [] if messages else [{"type": kind, kind: value} for kind, value in media.items()]
        if asked:
            content.append({"type": "text", "text": asked})
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answered}]
    return messages
