"""What the gateway benchmark plans, sends and counts."""

from __future__ import annotations

import argparse
import asyncio
import math

import pytest
from websockets.asyncio.server import serve

from benchmarks.gateway import Level, Snapshot, keeps_the_aims, levels, network_alone, row
from benchmarks.gateway_microphones import RATES, RealtimeMicrophone, append, chunks


def snapshot(at: float, cpu: float, memory: int, counts: dict[float, float]) -> Snapshot:
    return Snapshot(at, cpu, memory, {"detector": counts, "loop_late": {}})


def test_a_row_is_of_the_time_between_two_snapshots():
    empty = snapshot(0.0, 1.0, 100_000_000, {})
    before = snapshot(5.0, 2.0, 0, {0.01: 100.0, 0.02: 100.0, math.inf: 100.0})
    after = snapshot(15.0, 6.0, 115_000_000, {0.01: 100.0, 0.02: 190.0, math.inf: 200.0})
    seen = {"delays": [0.004] * 95 + [0.02] * 5, "errors": [], "late": 0.002}
    turns = [{"what": "turn", "answered": True, "first_audio": 0.3}, {"what": "error"}]
    found = row(Level("realtime", 300, "room"), empty, before, after, seen, turns)
    assert found["cores"] == pytest.approx(0.4) and found["kb"] == pytest.approx(50)
    assert (found["delay_p50"], found["delay_p95"]) == (4, 4)
    assert (found["detector_p50"], found["detector_p95"]) == (20, math.inf)
    assert (found["first_audio_p50"], found["turns"], found["errors"]) == (300, 1, 1)
    assert not keeps_the_aims(found) and keeps_the_aims(found | {"errors": 0})
    assert not keeps_the_aims(found | {"errors": 0, "cores": 0.61})


def test_talkers_come_alone_and_beside_the_most_microphones():
    planned = levels(argparse.Namespace(wire=["grpc"], microphones=[10, 20], talkers=2))
    assert [each for each in planned if each.talkers] == [
        Level("grpc", 0, "none", 2),
        Level("grpc", 20, "silent", 2),
        Level("grpc", 20, "room", 2),
    ]
    assert len(planned) == 8


def test_a_second_of_sound_is_25_chunks():
    for rate in RATES.values():
        sound = chunks("room", rate)
        assert {len(each) for each in sound} == {2 * rate // 25} and any(map(any, sound))
        assert not any(map(any, chunks("silent", rate)))


def test_the_network_alone_takes_something():
    assert 0 < network_alone(4, seconds=0.05) < 1


async def test_a_microphone_says_why_its_connection_was_lost():
    async def hang_up(connection):
        await connection.send('{"type": "session.created"}')
        await connection.recv()
        await connection.close(1011, "no answer to a ping")

    async with serve(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        microphone = await RealtimeMicrophone.open(f"127.0.0.1:{port}", hands_free=True)
        microphone.send(append(""))
        while not microphone.errors:  # until the test's timeout
            await asyncio.sleep(0.01)
        microphone.send(append(""))
    assert microphone.errors == ["the connection was lost: 1011 (internal error) no answer to a ping"]
