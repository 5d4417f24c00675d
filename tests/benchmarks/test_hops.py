from benchmarks.echo_service import EchoService, EchoSettings
from benchmarks.hops import WARM_UP, engine_probes, measure, report


async def test_each_round_measures_every_kind_of_every_layer_after_the_warm_up():
    calls = []

    async def probe():
        calls.append(1)

    taken = await measure({"engine": {"message": probe}, "proxy": {"message": probe, "busy": probe}}, 2, 0)
    assert {layer: {kind: len(found) for kind, found in kinds.items()} for layer, kinds in taken.items()} == {
        "engine": {"message": 2}, "proxy": {"message": 2, "busy": 2}
    }  # fmt: skip
    assert len(calls) == 3 * (WARM_UP + 2)
    assert [row["busy p50"] == "-" for row in report(taken)] == [True, False]


async def test_the_engine_echoes_and_works_on_after_a_busy_message():
    service = EchoService(EchoSettings(stop_seconds=0))
    await service.start()
    probes = engine_probes(service, b"\x00" * 8)
    for kind in ("message", "busy", "stream"):
        await probes[kind]()
    assert service.engine.alive
    await service.stop()
