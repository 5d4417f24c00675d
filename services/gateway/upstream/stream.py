"""One open stream to a service: messages numbered on the way out, checked on the way in, silence noticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import grpc

from services.gateway.upstream.calls import ConnectionLostError
from services.gateway.upstream.errors import failure


class GrpcStream:
    """Implements `upstream.calls.Stream`.

    A service that has been sent everything and says nothing for `stall_seconds` counts as lost: a link that is cut
    tells nobody.
    """

    def __init__(self, service: str, call, requests: AsyncGenerator, keep_open: bool, stall_seconds: float):
        self._service, self._call, self._stall_seconds = service, call, stall_seconds
        self._sequence = 0
        self._writing = asyncio.Lock()  # a number and its write belong together
        self._waiting: asyncio.Timeout | None = None  # of the reader, while it waits for an answer
        self._sending = asyncio.create_task(self._send_all(requests, keep_open))
        self._sending.add_done_callback(self._limit_waiting)

    async def send(self, request) -> None:
        """That the call has ended is for the reader to find."""
        async with self._writing:
            request.sequence = self._sequence
            self._sequence += 1
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                await self._call.write(request)

    async def _send_all(self, requests: AsyncGenerator, keep_open: bool) -> None:
        async with contextlib.aclosing(requests):
            async for request in requests:
                await self.send(request)
                if self._call.done():
                    return
        if not keep_open:
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                await self._call.done_writing()

    async def __aiter__(self) -> AsyncIterator:
        answers = aiter(self._call)
        expected = 0
        while (answer := await self._next(answers)) is not None:
            if answer.WhichOneof("message") is None:
                continue  # it only carries the status of a call that has failed (`services.rpc.decorator`)
            if answer.sequence != expected:
                raise ConnectionLostError(f"{self._service}: answer {answer.sequence} came where {expected} was due")
            expected += 1
            yield answer

    async def _next(self, answers: AsyncIterator):
        """The next answer; None at the end."""
        try:
            async with asyncio.timeout(None) as self._waiting:
                if self._sending.done():
                    self._limit_waiting(self._sending)
                return await anext(answers, None)
        except TimeoutError:
            self._sending.result()  # an error of this side's own
            raise ConnectionLostError(f"{self._service}: silent for {self._stall_seconds:g} s") from None
        except grpc.RpcError as error:
            raise failure(self._service, error) from error
        finally:
            self._waiting = None

    def _limit_waiting(self, sending: asyncio.Task) -> None:
        """The service has everything and owes an answer; where sending has failed, the reader is told at once."""
        if self._waiting is not None:
            failed = sending.cancelled() or sending.exception() is not None
            self._waiting.reschedule(asyncio.get_running_loop().time() + (0 if failed else self._stall_seconds))

    async def close(self) -> None:
        """Cancels the call."""
        self._call.cancel()
        self._sending.cancel()
        await asyncio.wait({self._sending})
        if not self._sending.cancelled():
            self._sending.exception()  # the reader has seen it, or nobody waits for it any more
