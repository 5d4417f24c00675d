"""What a gateway makes of the release pointer, of its loss, and of what it cannot follow."""

import asyncio

import grpc
import pytest

from services.gateway.api import release_watch
from services.gateway.api.release_watch import ReleaseWatch
from services.release_pointer import GatewayReport, Pointer
from services.rpc.errors import ServiceError


class Store:
    def __init__(self):
        self.pointer, self.begun, self.reports, self.failing = None, [], [], False

    async def report(self, report):
        self.reports.append(report)
        if self.failing:
            raise ServiceError(grpc.StatusCode.UNAVAILABLE, "no Redis")
        return self.pointer

    async def begin(self, pointer):
        self.begun.append(pointer)

    async def leave(self):
        pass


class Releases:
    def __init__(self):
        self.slot, self.serving, self.gone = "a", None, ""

    def use(self, slot):
        if slot not in "ab":
            raise ValueError(f"there is no slot {slot!r}")
        self.slot = slot

    async def find(self):
        self.slot = self.serving or self.slot
        return self.serving is not None

    async def stand_in(self, slot):
        return "ab".replace(slot, "") if slot == self.gone else slot

    def report(self):
        return GatewayReport(slot=self.slot)


@pytest.fixture
async def watched(monkeypatch):
    """(store, releases), of a watch that looks every few milliseconds."""
    monkeypatch.setattr(release_watch, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(release_watch, "LOOK_SECONDS", 0.0)
    store, releases = Store(), Releases()
    watch = ReleaseWatch(store, releases)
    await watch.start()
    yield store, releases
    await watch.stop()


async def reported(store, times=2):
    """Returns after so many more reports."""
    until = len(store.reports) + times
    while len(store.reports) < until:
        await asyncio.sleep(0.005)


async def test_a_pointer_is_followed_and_its_loss_repaired(watched):
    store, releases = watched
    store.pointer = pointer = Pointer(slot="b", checkpoint="second", weights="new", previous_checkpoint="first")
    await reported(store)
    assert releases.slot == "b" and store.begun == []
    store.pointer = None
    releases.serving = "a"  # also serves, but it is known which one is current
    await reported(store)
    assert releases.slot == "b" and store.begun[-1] == pointer  # so that `promote --back` still knows where to


async def test_without_a_pointer_the_release_that_serves_is_taken_once_there_is_one(watched):
    store, releases = watched
    await reported(store)
    assert store.begun == []
    releases.serving = "b"
    await reported(store)
    assert releases.slot == "b" and store.begun[-1] == Pointer(slot="b")


async def test_a_release_that_is_gone_is_not_waited_for(watched):
    store, releases = watched
    store.pointer, releases.gone = Pointer(slot="b"), "b"
    await reported(store, 3)
    assert releases.slot == "a" and store.begun == []  # the pointer is a promotion's to move
    releases.gone = ""
    await reported(store, 3)
    assert releases.slot == "b"


@pytest.mark.parametrize("trouble", [{"failing": True}, {"pointer": Pointer(slot="z")}])
async def test_what_cannot_be_followed_changes_nothing_and_ends_nothing(watched, trouble):
    store, releases = watched
    store.pointer = Pointer(slot="b")
    await reported(store)
    vars(store).update(trouble)
    await reported(store, 3)
    assert releases.slot == "b"
    vars(store).update(failing=False, pointer=Pointer(slot="a"))
    await reported(store)
    assert releases.slot == "a"
