"""The speech decoder's engine: speaks a clause of every live answer in one batch.

Notable points:
- Continuous batching: between two steps clauses join (their text is read by NAR), end, or are cancelled; each step
  makes one codec token for every row, and rows that have a piece of audio ready are decoded together by length.
- An answer's clauses follow one another; the first piece of audio is short, later ones grow.
- A clause that does not end is cut: a text has a longest time that it may take.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from parley.media.audio import to_pcm16
from parley.models.codec.base import CodecDecoder
from parley.models.codec.codec import decode_chunk, overlap
from parley.models.speech_decoder import SpeechDecoder, Text
from parley.text.clauses import Clause
from services.engine.thread import EngineThread, Request
from services.speech_decoder.alignment import Alignment
from services.speech_decoder.settings import SpeechDecoderSettings
from services.telemetry import logs, metrics

SERVICE = "speech_decoder"

log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Spoken:
    """A piece of audio, or the end, on its way to the event loop."""

    audio: bytes  # 16-bit little-endian
    text: str  # of the answer, spoken by the end of this piece
    done: bool
    compute_seconds: float  # of the answer so far, its share of the batches it was in
    first_audio_seconds: float


@dataclass
class Saying:
    """The clause that an answer is at."""

    clause: Clause
    alignment: Alignment
    limit: int  # frames after which it has run away
    codes: list[int] = field(default_factory=list)
    heard: int = 0  # codes that became audio
    ended: bool = False


class Answer(Request[Spoken]):
    """One live answer, as the event loop sees it."""

    def __init__(self, engine: Engine, voice: list[int], seed: int):
        super().__init__(engine)
        # of the engine's thread:
        self.voice = torch.tensor(voice, device=engine.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.waiting: deque[Clause] = deque()
        self.complete = False  # no clause will come after those waiting
        self.live = True
        self.saying: Saying | None = None
        self.text = ""  # of the clauses before
        self.pieces = 0
        self.clause_ready = 0.0
        self.first_audio_seconds = 0.0
        self.compute_seconds = 0.0

    def say(self, clause: Clause) -> None:
        self.post("say", clause)

    def finish(self) -> None:
        """There is no more to say; the last piece has `done`."""
        self.post("finish")


class Engine(EngineThread):
    """Parts in inference mode.

    Args:
        table: the language model's input embeddings [vocab, language_size].
    """

    service = SERVICE
    settings: SpeechDecoderSettings

    def __init__(
        self,
        decoder: SpeechDecoder,
        codec: CodecDecoder,
        table: Tensor,
        sample_rate: int,
        settings: SpeechDecoderSettings,
    ):
        super().__init__(settings)
        self.decoder, self.codec, self.table = decoder, codec, table
        self.device, self.sample_rate = table.device, sample_rate
        config = decoder.config
        self.behind, self.ahead = overlap(codec, config.overlap_tokens)
        self.chunk_tokens = settings.chunk_tokens or config.chunk_tokens
        self.max_frames = int(settings.max_clause_seconds * sample_rate / codec.hop_length)
        capacity = 1 + settings.max_clause_tokens * decoder.cuts + 1 + self.max_frames
        self.cache = decoder.cache(settings.max_batch, capacity)
        self.row_bytes = 2 * self.cache.keys[:, 0].numel() * self.cache.keys.element_size()
        self._rows: list[Answer] = []  # by row of the cache; this and what follows belongs to the thread
        self._last: list[int] = []  # the token each row said last
        self._waiting: deque[Answer] = deque()  # answers with a clause to say and no row

    def open(self, voice: list[int], seed: int) -> Answer:
        """A new answer. Raises RESOURCE_EXHAUSTED when `max_sessions` are live, UNAVAILABLE once the engine stops.

        On the event loop.
        """
        answer = Answer(self, voice, seed)
        self.admit(answer, self.settings.max_sessions, "answers")
        return answer

    # The thread

    def apply(self, kind: str, answer: Answer, clause: Clause | None) -> None:
        if not answer.live:
            return
        if kind == "say":
            if clause.speakable and not answer.clause_ready:
                answer.clause_ready = time.perf_counter()
            answer.waiting.append(clause)
        else:
            answer.complete = True
        if answer.saying is None:
            self._go_on(answer)

    def _go_on(self, answer: Answer) -> None:
        """The answer has no clause at work: takes up the next, or ends."""
        while answer.waiting and not answer.waiting[0].speakable:
            answer.text += answer.waiting.popleft().text
        if answer.waiting:
            if answer not in self._waiting:
                self._waiting.append(answer)
        elif answer.complete:
            self.emit(answer, Spoken(b"", answer.text, True, answer.compute_seconds, answer.first_audio_seconds))
            self.free(answer)

    def free(self, answer: Answer) -> None:
        """Nothing more is computed for the answer."""
        answer.live = False
        if answer in self._waiting:
            self._waiting.remove(answer)
        if answer in self._rows:
            self._leave(self._rows.index(answer))

    def _leave(self, row: int) -> None:
        last = self.cache.leave(row)
        self._rows[row], self._last[row] = self._rows[last], self._last[last]
        self._rows.pop()
        self._last.pop()

    def step(self) -> bool:
        started = time.perf_counter()
        self._join()
        metrics.QUEUE.labels(SERVICE).set(len(self._waiting))
        metrics.SESSIONS.labels(SERVICE).set(len(self._rows))
        metrics.CACHE_BYTES.labels(SERVICE).set(len(self._rows) * self.row_bytes)
        if not self._rows:
            return False
        self._say()
        self._sound()
        metrics.STEP_SECONDS.labels(SERVICE).observe(time.perf_counter() - started)
        return True

    def abandon_step(self) -> list[Answer]:
        answers = self._rows
        self._rows, self._last, self.cache.size = [], [], 0
        for answer in answers:
            self.free(answer)
        return answers

    def _join(self) -> None:
        """Gives free rows to the answers that have waited longest, and reads their clauses."""
        joining = []
        while self._waiting and len(self._rows) < self.cache.rows:
            answer = self._waiting.popleft()
            clause = answer.waiting.popleft()
            self._rows.append(answer)  # before anything can fail: who is in a row is told
            self._last.append(self.decoder.config.sos)
            limit = min(self.decoder.frame_limit(clause.ids), self.max_frames)
            answer.saying = Saying(clause, Alignment(clause, self.decoder), limit)
            joining.append(answer)
        if joining:
            started = time.perf_counter()
            self.decoder.join(self.cache, Text.of([answer.saying.clause.ids for answer in joining], self.table))
            self._charge(joining, started)

    def _say(self) -> None:
        """One codec token for every row."""
        started = time.perf_counter()
        logits = self.decoder.step(self.cache, torch.tensor(self._last, device=self.device))
        generators = [answer.generator for answer in self._rows]
        self._last = self.decoder.choose(logits, generators, self.settings.top_k or None).tolist()
        for answer, token in zip(self._rows, self._last, strict=True):
            saying = answer.saying
            if token == self.decoder.config.eos:
                saying.ended = True
                continue
            saying.codes.append(token)
            if len(saying.codes) >= saying.limit:
                log.warning("a clause ran away", frames=saying.limit, characters=len(saying.clause.text))
                saying.ended = True
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(self._rows))
        self._charge(self._rows, started)

    def _sound(self) -> None:
        """Decodes and delivers what is ready, rows with windows of one length together."""
        groups: dict[tuple[int, int, int], list[Answer]] = {}
        for answer in self._rows:
            saying = answer.saying
            ready = len(saying.codes) - saying.heard - (0 if saying.ended else self.ahead)
            # 6, 12, 16, 16, …: soon heard, then fewer seams and less decoded twice.
            wanted = min(self.settings.first_chunk_tokens * (answer.pieces + 1), self.chunk_tokens)
            if saying.ended or ready >= wanted:
                left = min(self.behind, saying.heard)
                right = 0 if saying.ended else self.ahead
                groups.setdefault((left, len(saying.codes) - saying.heard - right, right), []).append(answer)
        for (left, length, right), answers in groups.items():
            started = time.perf_counter()
            sounds = [b""] * len(answers)
            if length > 0:
                codes = torch.tensor([answer.saying.codes[-left - length - right :] for answer in answers])
                voices = torch.stack([answer.voice for answer in answers])
                waveforms = decode_chunk(self.codec, codes.to(self.device), voices, left, right)
                sounds = [to_pcm16(waveform).tobytes() for waveform in waveforms.float().cpu().numpy()]
            self._charge(answers, started)
            for answer, sound in zip(answers, sounds, strict=True):
                self._emit(answer, sound, length)
            self.flush()  # not after the other groups' decoding

    def _emit(self, answer: Answer, sound: bytes, frames: int) -> None:
        saying = answer.saying
        saying.heard += frames
        text = answer.text + (saying.clause.text if saying.ended else saying.alignment.text_at(saying.heard))
        if saying.ended:
            pause = self.settings.sentence_pause_ms if saying.clause.ends_sentence else self.settings.clause_pause_ms
            sound += bytes(2 * (pause * self.sample_rate // 1000))
        if not answer.pieces:
            answer.first_audio_seconds = time.perf_counter() - answer.clause_ready
            metrics.FIRST_AUDIO_SECONDS.labels(SERVICE).observe(answer.first_audio_seconds)
        answer.pieces += 1
        self.emit(answer, Spoken(sound, text, False, answer.compute_seconds, answer.first_audio_seconds))
        if saying.ended:
            answer.text, answer.saying = text, None
            self._leave(self._rows.index(answer))
            self._go_on(answer)

    def _charge(self, answers: list[Answer], started: float) -> None:
        """Shares what was just computed among the answers it was for."""
        share = (time.perf_counter() - started) / len(answers)
        for answer in answers:
            answer.compute_seconds += share


@torch.inference_mode()
def warm_up(engine: Engine) -> None:
    """Speaks a few tokens through each shape of a step, before the engine's thread exists."""
    codes = engine.decoder.speak([0, 1, 2], engine.table, top_k=1)[: engine.chunk_tokens]
    cache = engine.cache
    rows = min(2, cache.rows)
    engine.decoder.join(cache, Text.of([[0, 1, 2]] * rows, engine.table))
    for _ in range(3):
        engine.decoder.step(cache, torch.full((rows,), engine.decoder.config.sos, device=engine.device))
    while cache.size:
        cache.leave(cache.size - 1)
    voice = torch.zeros(1, engine.codec.voice_quantizer.groups, dtype=torch.long, device=engine.device)
    for length in {engine.settings.first_chunk_tokens + engine.ahead, len(codes)} - {0}:
        decode_chunk(engine.codec, torch.zeros(1, length, dtype=torch.long, device=engine.device), voice, 0, 0)
