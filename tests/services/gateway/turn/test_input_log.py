"""A log is read again from its start."""

from __future__ import annotations

import asyncio

from services.gateway.turn.input_log import InputLog


async def test_a_log_is_read_from_the_start_while_it_grows():
    log: InputLog[int] = InputLog()
    log.append(1)

    async def everything():
        return [item async for item in log.read()]

    early = asyncio.create_task(everything())
    await asyncio.sleep(0)
    log.append(2)
    late = asyncio.create_task(everything())
    await asyncio.sleep(0)
    log.append(3)
    log.close()
    assert await early == await late == await everything() == [1, 2, 3]
