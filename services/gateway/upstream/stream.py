"""One open stream to a service: messages numbered on the way out, checked on the way in, silence noticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import grpc

from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.calls import ConnectionLostError
from services.gateway.upstream.errors import failure


class GrpcStream:
    """Implements `upstream.calls.Stream`.

    A link that is cut and a process that hangs tell nobody. So a service counts as lost where not even its heartbeat
    has come for `silence_seconds`, and where it has been sent everything and answers nothing for `stall_seconds`.
    """

    def __init__(self, service: str, call, requests: AsyncGenerator, keep_open: bool, settings: UpstreamSettings):
        self._service, self._call, self._settings = service, call, settings
        self._sequence = 0
        self._writing = asyncio.Lock()  # a number and its write belong together
        self._reading: asyncio.Task | None = None  # takes the next message from the call
        self._waiting: asyncio.Timeout | None = None  # of the reader, while it waits for a message
        self._owed_since: float | None = None  # on the loop's clock: the service has everything and owes an answer
        self._sending = asyncio.create_task(self._send_all(requests, keep_open))
        self._sending.add_done_callback(self._sent)

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

    def _sent(self, sending: asyncio.Task) -> None:
        """Where sending has failed, the reader is told at once."""
        self._owed_since = asyncio.get_running_loop().time()
        if self._waiting is not None:
            self._waiting.reschedule(min(self._waiting.when(), self._latest()))

    def _latest(self) -> float:
        """When the next message has to be here, on the loop's clock."""
        now = asyncio.get_running_loop().time()
        if self._sending.done() and (self._sending.cancelled() or self._sending.exception() is not None):
            return now
        silent = now + self._settings.silence_seconds
        return silent if self._owed_since is None else min(silent, self._owed_since + self._settings.stall_seconds)

    async def __aiter__(self) -> AsyncIterator:
        expected = 0
        while (answer := await self._next()) is not None:
            if answer.sequence != expected:
                raise ConnectionLostError(f"{self._service}: answer {answer.sequence} came where {expected} was due")
            expected += 1
            yield answer

    async def _next(self):
        """The next answer; None at the end. A message without a field is a heartbeat, or carries the status of a call
        that has failed (`services.rpc.decorator`)."""
        if self._owed_since is not None:
            self._owed_since = asyncio.get_running_loop().time()
        while (message := await self._receive()) is not None and message.WhichOneof("message") is None:
            pass
        return message

    async def _receive(self):
        """The next message; None at the end.

        Cancelling it does not cancel the call's own read, which would then never free what it has received
        (grpc/grpc, issue 43360). It ends with the call.
        """
        began = asyncio.get_running_loop().time()
        self._reading = asyncio.create_task(self._call.read())
        try:
            async with asyncio.timeout_at(self._latest()) as self._waiting:
                message = await asyncio.shield(self._reading)
            return None if message is grpc.aio.EOF else message
        except TimeoutError:
            if self._sending.done():
                self._sending.result()  # an error of this side's own
            silent = asyncio.get_running_loop().time() - (self._owed_since or began)
            raise ConnectionLostError(f"{self._service}: silent for {silent:.1f} s") from None
        except grpc.RpcError as error:
            raise failure(self._service, error) from error
        finally:
            self._waiting = None

    async def close(self) -> None:
        """Cancels the call."""
        self._call.cancel()
        self._sending.cancel()
        working = {self._sending} if self._reading is None else {self._sending, self._reading}
        await asyncio.wait(working)
        for task in working:
            if not task.cancelled():
                task.exception()  # the reader has seen it, or nobody waits for it any more
