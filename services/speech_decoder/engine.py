"""The speech decoder's engine: synthesizes a clause of every live answer in one batch.

Notable points:
- Continuous batching: between two steps clauses join (NAR reads their text), end, or are cancelled. Each step makes one
  codec token for every slot; slots with enough tokens are decoded to audio together, grouped by length.
- The clauses of an answer follow one another. Its first audio chunk is short, later ones are longer.
- The speech of a clause has a maximum length, estimated from its text; what is longer is cut.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from parley.media.audio import to_pcm16
from parley.models.codec import decode_chunk, overlap
from parley.models.codec.base import CodecDecoder
from parley.models.speech_decoder import SpeechDecoder, Text
from parley.text.clauses import Clause
from services.engine.load import Load
from services.engine.thread import EngineThread, Request
from services.speech_decoder.alignment import Alignment
from services.speech_decoder.settings import SpeechDecoderSettings
from services.telemetry import logs, metrics

SERVICE = "speech_decoder"

log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Chunk:
    """A chunk of audio, or the end of an answer."""

    audio: bytes  # 16-bit little-endian
    text: str  # of the answer, up to the end of this chunk
    done: bool
    truncated: bool  # speech of a clause was cut
    compute_seconds: float  # of the answer so far: its share of the steps that it was in
    first_audio_seconds: float


@dataclass
class ClauseSynthesis:
    """The clause that is being synthesized."""

    clause: Clause
    alignment: Alignment
    limit: int  # codec frames after which it is cut
    codes: list[int] = field(default_factory=list)
    decoded: int = 0  # codes that became audio
    ended: bool = False

    def window(self, wanted: int, behind: int, ahead: int) -> tuple[int, int, int] | None:
        """Codes to decode now (left context, new codes, right context); None while fewer than `wanted` are ready."""
        right = 0 if self.ended else ahead
        ready = len(self.codes) - self.decoded - right
        return (min(behind, self.decoded), ready, right) if self.ended or ready >= wanted else None


class SynthesisRequest(Request[Chunk]):
    """One live answer, as its caller sees it."""

    def __init__(self, engine: Engine, speaker_tokens: list[int], seed: int):
        super().__init__(engine)
        # Used by the engine's thread:
        self.speaker_tokens = torch.tensor(speaker_tokens, device=engine.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.clauses: deque[Clause] = deque()  # not begun
        self.complete = False  # no more clauses will come
        self.live = True
        self.current: ClauseSynthesis | None = None
        self.text = ""  # of the clauses before
        self.chunks = 0  # sent
        self.truncated = False
        self.clause_ready = 0.0  # when the first clause with speech came
        self.first_audio_seconds = 0.0
        self.steps.begin("first_clause")
        self.compute_seconds = 0.0
        self.busy_since = 0.0  # when the current clause came up
        self.busy_seconds = 0.0  # that the clauses before took, with their waits for a slot
        self.frames = 0  # of them

    def add_clause(self, clause: Clause) -> None:
        self.post("clause", clause)

    def finish(self) -> None:
        """The text is complete; the last event has `done`."""
        self.post("finish")


class Engine(EngineThread):
    """Speech decoder and codec decoder in inference mode.

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
        self.frame_rate = sample_rate / codec.hop_length  # codec frames a second
        self.max_frames = int(settings.max_clause_seconds * self.frame_rate)
        capacity = 1 + settings.max_clause_tokens * decoder.cuts + 1 + self.max_frames
        self.cache = decoder.cache(settings.max_batch, capacity)
        self.slot_bytes = 2 * self.cache.keys[:, 0].numel() * self.cache.keys.element_size()
        metrics.SLOTS.labels(SERVICE).set(self.cache.slots)
        self._slots: list[SynthesisRequest] = []  # by slot of the cache; used by the thread, like the next two
        self._last: list[int] = []  # the newest codec token of each slot
        self._waiting: deque[SynthesisRequest] = deque()  # with a clause to synthesize and no slot

    def open(self, speaker_tokens: list[int], seed: int) -> SynthesisRequest:
        """A new answer. Raises RESOURCE_EXHAUSTED when `max_answers` are live, UNAVAILABLE once the engine stops.

        On the event loop.
        """
        request = SynthesisRequest(self, speaker_tokens, seed)
        self.admit(request, self.settings.max_answers, "answers")
        return request

    def current_load(self) -> Load:
        return Load(self.cache.slots, len(self._slots), len(self._waiting), self.factors.p95())

    # Called in the thread.

    def apply(self, kind: str, request: SynthesisRequest, clause: Clause | None) -> None:
        if not request.live:
            return
        if kind == "clause":
            if clause.speakable and not request.clause_ready:
                request.clause_ready = time.perf_counter()
                request.steps.begin("queue")
            request.clauses.append(clause)
        else:
            request.complete = True
        if request.current is None:
            self._continue(request)

    def _continue(self, request: SynthesisRequest) -> None:
        """Queues a request that has no current clause for its next one, or ends it."""
        while request.clauses and not request.clauses[0].speakable:
            request.text += request.clauses.popleft().text
        if request.clauses:
            if request not in self._waiting:
                request.busy_since = time.perf_counter()
                self._waiting.append(request)
        elif request.complete:
            self._emit_chunk(request, b"", request.text, done=True)
            self.free(request)

    def _emit_chunk(self, request: SynthesisRequest, audio: bytes, text: str, done: bool = False) -> None:
        seconds = request.compute_seconds, request.first_audio_seconds
        self.emit(request, Chunk(audio, text, done, request.truncated, *seconds))

    def free(self, request: SynthesisRequest) -> None:
        request.live = False
        request.steps.end()
        if request in self._waiting:
            self._waiting.remove(request)
        if request in self._slots:
            self._free_slot(self._slots.index(request))

    def _free_slot(self, slot: int) -> None:
        last = self.cache.free(slot)
        self._slots[slot], self._last[slot] = self._slots[last], self._last[last]
        self._slots.pop()
        self._last.pop()

    def step(self) -> bool:
        started = time.perf_counter()
        self._start_clauses()
        metrics.QUEUE.labels(SERVICE).set(len(self._waiting))
        metrics.SLOTS_USED.labels(SERVICE).set(len(self._slots))
        metrics.CACHE_BYTES.labels(SERVICE).set(len(self._slots) * self.slot_bytes)
        if not self._slots:
            return False
        self._generate()
        self._decode()
        metrics.STEP_SECONDS.labels(SERVICE).observe(time.perf_counter() - started)
        return True

    def abandon_step(self) -> list[SynthesisRequest]:
        requests = self._slots
        self._slots, self._last, self.cache.size = [], [], 0
        for request in requests:
            self.free(request)
        return requests

    def _start_clauses(self) -> None:
        """Gives free slots to the requests that have waited longest, and reads their clauses into the cache."""
        joining = []
        while self._waiting and len(self._slots) < self.cache.slots:
            request = self._waiting.popleft()
            clause = request.clauses.popleft()
            self._took(request)
            self._slots.append(request)  # before anything can fail: requests in slots are failed with the step
            self._last.append(self.decoder.config.sos)
            limit = min(self.decoder.frame_limit(clause.ids), self.max_frames)
            request.current = ClauseSynthesis(clause, Alignment(clause, self.decoder, self.frame_rate), limit)
            joining.append(request)
        if joining:
            started = time.perf_counter()
            self.decoder.prefill(self.cache, Text.of([request.current.clause.ids for request in joining], self.table))
            _charge(joining, started)

    def _took(self, request: SynthesisRequest) -> None:
        """The first clause of an answer has its slot."""
        if not request.chunks:
            request.steps.begin("first_audio")
            waited = time.perf_counter() - request.clause_ready
            metrics.QUEUE_SECONDS.labels(SERVICE).observe(waited, request.exemplar)

    def _generate(self) -> None:
        """One codec token for every slot."""
        started = time.perf_counter()
        logits = self.decoder.step(self.cache, torch.tensor(self._last, device=self.device))
        generators = [request.generator for request in self._slots]
        self._last = self.decoder.sample(logits, generators, self.settings.top_k or None).tolist()
        for request, token in zip(self._slots, self._last, strict=True):
            self._add_code(request, token)
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(self._slots))
        _charge(self._slots, started)

    def _add_code(self, request: SynthesisRequest, token: int) -> None:
        current = request.current
        if token == self.decoder.config.eos:
            current.ended = True
            return
        current.codes.append(token)
        if len(current.codes) >= current.limit:
            log.warning(
                "a clause was cut", frames=current.limit, characters=len(current.clause.text), **request.log_ids
            )
            current.ended = request.truncated = True

    def _decode(self) -> None:
        """Decodes and sends the audio that is ready; slots with windows of one length are decoded together."""
        groups: dict[tuple[int, int, int], list[SynthesisRequest]] = {}
        for request in self._slots:
            # 6, 12, 16, 16, …: the first audio comes soon, later chunks have fewer seams and less is decoded twice.
            wanted = min(self.settings.first_chunk_tokens * (request.chunks + 1), self.chunk_tokens)
            window = request.current.window(wanted, self.behind, self.ahead)
            if window is not None:
                groups.setdefault(window, []).append(request)
        for window, requests in groups.items():
            started = time.perf_counter()
            waveforms = self._waveforms(requests, *window)
            _charge(requests, started)
            for request, waveform in zip(requests, waveforms, strict=True):
                self._send(request, waveform, window[1])
            self.flush()  # before the other groups are decoded

    def _waveforms(self, requests: list[SynthesisRequest], left: int, length: int, right: int) -> list[bytes]:
        """The next `length` codes of each request as 16-bit audio."""
        if length <= 0:
            return [b""] * len(requests)
        codes = torch.tensor([request.current.codes[-left - length - right :] for request in requests])
        speakers = torch.stack([request.speaker_tokens for request in requests])
        waveforms = decode_chunk(self.codec, codes.to(self.device), speakers, left, right)
        return [to_pcm16(waveform).tobytes() for waveform in waveforms.float().cpu().numpy()]

    def _send(self, request: SynthesisRequest, audio: bytes, frames: int) -> None:
        """Sends a chunk; where the clause has ended, adds the pause and goes on to the next."""
        current = request.current
        current.decoded += frames
        text = request.text + (current.clause.text if current.ended else current.alignment.text_at(current.decoded))
        if current.ended:
            audio += self._pause(current.clause)
        if not request.chunks:
            request.first_audio_seconds = time.perf_counter() - request.clause_ready
            metrics.FIRST_AUDIO_SECONDS.labels(SERVICE).observe(request.first_audio_seconds, request.exemplar)
            request.steps.begin("decode")
        request.chunks += 1
        self._emit_chunk(request, audio, text)
        if current.ended:
            self._observe_clause(request, current)
            request.text, request.current = text, None
            self._free_slot(self._slots.index(request))
            self._continue(request)

    def _observe_clause(self, request: SynthesisRequest, clause: ClauseSynthesis) -> None:
        """How far the answer keeps up with its playback: over all of it, since short clauses alone take long."""
        request.busy_seconds += time.perf_counter() - request.busy_since
        request.frames += clause.decoded
        if request.frames:
            self.factors.observe(request.busy_seconds * self.frame_rate / request.frames)

    def _pause(self, clause: Clause) -> bytes:
        """The silence after a clause."""
        milliseconds = self.settings.sentence_pause_ms if clause.ends_sentence else self.settings.clause_pause_ms
        return bytes(2 * (milliseconds * self.sample_rate // 1000))


def _charge(requests: list[SynthesisRequest], started: float) -> None:
    """Shares the time of a computation among the requests that it was for."""
    share = (time.perf_counter() - started) / len(requests)
    for request in requests:
        request.compute_seconds += share


@torch.inference_mode()
def warm_up(engine: Engine) -> None:
    """Synthesizes a few codec tokens through each shape of a step, before the engine's thread exists."""
    codes = engine.decoder.generate([0, 1, 2], engine.table, top_k=1)[: engine.chunk_tokens]
    cache = engine.cache
    slots = min(2, cache.slots)
    engine.decoder.prefill(cache, Text.of([[0, 1, 2]] * slots, engine.table))
    for _ in range(3):
        engine.decoder.step(cache, torch.full((slots,), engine.decoder.config.sos, device=engine.device))
    while cache.size:
        cache.free(cache.size - 1)
    speaker = torch.zeros(1, engine.codec.voice_quantizer.groups, dtype=torch.long, device=engine.device)
    for length in {engine.settings.first_chunk_tokens + engine.ahead, len(codes)} - {0}:
        decode_chunk(engine.codec, torch.zeros(1, length, dtype=torch.long, device=engine.device), speaker, 0, 0)
