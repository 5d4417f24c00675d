"""A stream to a service: numbers without gaps in both directions, silence noticed, a close that can be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from protos.parley.v1.language_model_pb2 import GenerateDone, GenerateRequest, GenerateResponse, Part, Token
from protos.parley.v1.speech_decoder_pb2 import AudioChunk, SynthesizeResponse
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.calls import ConnectionLostError
from services.gateway.upstream.stream import GrpcStream
from services.rpc.errors import ServiceError

END = grpc.aio.EOF
BEAT = 0.02  # seconds between two heartbeats


class Call:
    """As `grpc.aio.StreamStreamCall`: keeps what is written; gives the answers, then `beats` heartbeats, then stays
    silent until it is cancelled."""

    def __init__(self, *answers, beats: int = 0):
        self.answers, self.beats, self.written = list(answers), beats, []
        self.half_closed, self.ended = False, asyncio.Event()

    async def write(self, request) -> None:
        for _ in range(3 - request.sequence % 3):  # unless one waits for the other, the next is written first
            await asyncio.sleep(0)
        self.written.append(GenerateRequest.FromString(request.SerializeToString()))

    async def done_writing(self) -> None:
        self.half_closed = True

    def done(self) -> bool:
        return self.ended.is_set()

    def cancel(self) -> None:
        self.ended.set()

    async def read(self):
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self.beats:
            self.beats -= 1
            await asyncio.sleep(BEAT)
            return GenerateResponse()
        await self.ended.wait()
        raise asyncio.CancelledError


async def parts(*texts: str, then: asyncio.Event | Exception | None = None):
    for text in texts:
        yield GenerateRequest(part=Part(text=text))
    if isinstance(then, Exception):
        raise then
    if then is not None:
        await then.wait()


def token(sequence: int) -> GenerateResponse:
    return GenerateResponse(sequence=sequence, token=Token(id=7))


@contextlib.asynccontextmanager
async def opened(call: Call, requests, keep_open: bool = False, silence: float = 60, stall: float = 60):
    """`silence`, `stall`: seconds."""
    settings = UpstreamSettings.model_construct(silence_seconds=silence, stall_seconds=stall)
    stream = GrpcStream("llm_core", call, requests, keep_open, settings)
    try:
        yield stream
    finally:
        await stream.close()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_what_is_sent_beside_the_requests_is_numbered_with_them():
    call = Call()
    async with opened(call, parts(*"abcdef"), keep_open=True) as stream:
        await asyncio.gather(*(stream.send(GenerateRequest(part=Part(text=text))) for text in "uvw"))
        await until(lambda: len(call.written) == 9)
        assert [request.sequence for request in call.written] == list(range(9))
        assert {request.part.text for request in call.written} == set("abcdefuvw")
        assert not call.half_closed
    assert call.done()


async def test_the_last_request_closes_the_stream_unless_it_is_kept_open():
    call = Call()
    async with opened(call, parts("a")):
        await until(lambda: call.half_closed)
    assert len(call.written) == 1


async def test_answers_come_in_order_without_the_empty_one():
    call = Call(token(0), GenerateResponse(), token(1), GenerateResponse(sequence=2, done=GenerateDone()), END)
    async with opened(call, parts()) as stream:
        assert [answer.WhichOneof("message") async for answer in stream] == ["token", "token", "done"]


@pytest.mark.parametrize("second", [0, 2], ids=["repeated", "lost"])
async def test_an_answer_out_of_order_is_a_lost_connection(second):
    async with opened(Call(token(0), token(second)), parts()) as stream:
        answers = aiter(stream)
        await anext(answers)
        with pytest.raises(ConnectionLostError, match=f"answer {second} came where 1 was due"):
            await anext(answers)


async def test_a_service_that_owes_an_answer_and_gives_none_is_a_lost_connection():
    async with opened(Call(token(0), beats=1000), parts("a"), stall=0.1) as stream:
        answers = aiter(stream)
        await anext(answers)
        with pytest.raises(ConnectionLostError, match=r"silent for 0\.1 s"):
            await anext(answers)


async def test_a_service_owes_nothing_while_more_is_to_be_sent():
    more = asyncio.Event()
    async with opened(Call(beats=1000), parts("a", then=more), stall=0.01) as stream:
        reading = asyncio.ensure_future(anext(aiter(stream)))
        await asyncio.sleep(0.1)
        assert not reading.done()
        more.set()
        with pytest.raises(ConnectionLostError):
            await reading


async def test_a_service_without_a_heartbeat_is_a_lost_connection_at_any_time():
    loop, beats = asyncio.get_running_loop(), 20
    began = loop.time()
    async with opened(Call(beats=beats), parts("a", then=asyncio.Event()), silence=0.3) as stream:
        with pytest.raises(ConnectionLostError, match=r"silent for 0\.\d s"):
            await anext(aiter(stream))
    assert loop.time() - began >= beats * BEAT + 0.3


async def test_the_reader_is_told_what_the_requests_or_the_service_raised():
    async with opened(Call(), parts("a", then=ValueError("no embeddings"))) as stream:
        with pytest.raises(ValueError, match="no embeddings"):
            await anext(aiter(stream))
    refused = grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, grpc.aio.Metadata(), grpc.aio.Metadata(), "replaced")
    async with opened(Call(refused), parts()) as stream:
        with pytest.raises(ServiceError, match="llm_core: replaced"):
            await anext(aiter(stream))


async def test_a_cancel_while_the_stream_closes_is_not_swallowed():
    stubborn = asyncio.Event()

    async def requests():
        try:
            await asyncio.Event().wait()
        finally:
            await stubborn.wait()
        yield

    stream = GrpcStream("llm_core", Call(), requests(), False, UpstreamSettings())
    await asyncio.sleep(0)
    closing = asyncio.create_task(stream.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    stubborn.set()
    await stream.close()


async def test_what_a_cancelled_reader_was_waiting_for_is_freed():
    """gRPC never frees what it receives for a read that was cancelled: 16 kB for each interrupted answer."""
    cancelled, audio = 100, bytes(16_000)

    async def interrupted(method) -> None:
        stream = GrpcStream("speech_decoder", method(), parts("a"), True, UpstreamSettings())
        heard = asyncio.Event()

        async def listen() -> None:
            async for _ in stream:
                heard.set()

        listening = asyncio.create_task(listen())
        await heard.wait()
        listening.cancel()
        await asyncio.wait({listening})
        await stream.close()

    async with served(audio) as method:
        await interrupted(method)
        before = allocated()
        for _ in range(cancelled):
            await interrupted(method)
        assert allocated() - before < cancelled * len(audio) / 4


@contextlib.asynccontextmanager
async def served(audio: bytes):
    """A method of a real server, as a stub has it, that answers with much audio at once."""

    def speak(requests, context):
        return (SynthesizeResponse(sequence=number, chunk=AudioChunk(audio=audio)) for number in range(1000))

    handler = grpc.stream_stream_rpc_method_handler(
        speak, GenerateRequest.FromString, SynthesizeResponse.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test", {"Speak": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.stream_stream("/test/Speak", GenerateRequest.SerializeToString, SynthesizeResponse.FromString)
    server.stop(None)


class HeapUse(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def allocated() -> int:
    """Bytes that this process has from malloc."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = HeapUse
    return mallinfo2().uordblks
