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
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from parley.media.audio import to_pcm16
from parley.models.codec import decode_chunk, overlap
from parley.models.codec.base import CodecDecoder
from parley.models.speech_decoder import SpeechDecoder, Text
from parley.text.clauses import Clause
from services.engine.load import Load
from services.engine.thread import EngineThread
from services.speech_decoder.alignment import Alignment
from services.speech_decoder.request import Chunk, ClauseSynthesis, SynthesisRequest
from services.speech_decoder.settings import SpeechDecoderSettings
from services.telemetry import logs, metrics

SERVICE = "speech_decoder"

log = logs.get_logger(__name__)


class Networks(NamedTuple):
    """The networks of a step; None: as the decoder and the codec have them."""

    prefill: Callable[..., Tensor] | None = None
    step: Callable[..., tuple[Tensor, Tensor]] | None = None
    codec: Callable[..., Tensor] | None = None


TORCH = Networks()


class Engine(EngineThread):
    """Speech decoder and codec decoder in inference mode.

    Args:
        table: the language model's input embeddings [vocab, language_size].
        networks: compiled forms of the prefill, the step and the codec.
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
        networks: Networks = TORCH,
    ):
        super().__init__(settings)
        self.decoder, self.codec, self.table, self.networks = decoder, codec, table, networks
        self.device, self.sample_rate = table.device, sample_rate
        config = decoder.config
        self.behind, self.ahead = overlap(codec, config.overlap_tokens)
        self.chunk_tokens = settings.chunk_tokens or config.chunk_tokens
        self.frame_rate = sample_rate / codec.hop_length  # codec frames a second
        self.max_frames = int(settings.max_clause_seconds * self.frame_rate)
        capacity = 1 + settings.max_clause_tokens * decoder.cuts + 1 + self.max_frames
        self.sequences = decoder.slots(settings.max_batch, capacity, networks.prefill, networks.step)
        metrics.SLOTS.labels(SERVICE).set(self.sequences.count)
        self._slots: list[SynthesisRequest] = []  # by slot of the decoder; used by the thread, like the next two
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
        return Load(self.sequences.count, len(self._slots), len(self._waiting), self.factors.p95())

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
        last = self.sequences.free(slot)
        self._slots[slot], self._last[slot] = self._slots[last], self._last[last]
        self._slots.pop()
        self._last.pop()

    def step(self) -> bool:
        started = time.perf_counter()
        self._start_clauses()
        metrics.QUEUE.labels(SERVICE).set(len(self._waiting))
        metrics.SLOTS_USED.labels(SERVICE).set(len(self._slots))
        metrics.CACHE_BYTES.labels(SERVICE).set(len(self._slots) * self.sequences.slot_bytes)
        if not self._slots:
            return False
        self._generate()
        self._decode()
        metrics.STEP_SECONDS.labels(SERVICE).observe(time.perf_counter() - started)
        return True

    def abandon_step(self) -> list[SynthesisRequest]:
        requests = self._slots
        self._slots, self._last, self.sequences.size = [], [], 0
        for request in requests:
            self.free(request)
        return requests

    def _start_clauses(self) -> None:
        """Gives free slots to the requests that have waited longest, and reads their clauses."""
        joining = []
        while self._waiting and len(self._slots) < self.sequences.count:
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
            self.sequences.prefill(Text.of([request.current.clause.ids for request in joining], self.table))
            _charge(joining, started)

    def _took(self, request: SynthesisRequest) -> None:
        """The first clause of an answer has its slot."""
        if not request.chunks:
            request.steps.begin("first_audio")
            self.took(request, time.perf_counter() - request.clause_ready)

    def _generate(self) -> None:
        """One codec token for every slot."""
        started = time.perf_counter()
        logits = self.sequences.step(torch.tensor(self._last, device=self.device))
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
        waveforms = decode_chunk(self.codec, codes.to(self.device), speakers, left, right, self.networks.codec)
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
    sequences, slots = engine.sequences, min(2, engine.sequences.count)
    sequences.prefill(Text.of([[0, 1, 2]] * slots, engine.table))
    for _ in range(3):
        sequences.step(torch.full((slots,), engine.decoder.config.sos, device=engine.device))
    while sequences.size:
        sequences.free(sequences.size - 1)
    speaker = torch.zeros(1, engine.codec.voice_quantizer.groups, dtype=torch.long, device=engine.device)
    for length in engine.settings.first_chunk_tokens, engine.behind + engine.chunk_tokens:
        codes = torch.zeros(1, length + engine.ahead, dtype=torch.long, device=engine.device)
        decode_chunk(engine.codec, codes, speaker, 0, engine.ahead, engine.networks.codec)
