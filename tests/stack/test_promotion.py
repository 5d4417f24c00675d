"""The running stack changes to another checkpoint and back while a client asks; a damaged one changes nothing."""

import asyncio
import json

import pytest

from benchmarks.promotion import second_checkpoint, weights_of_turns
from cli.client import Client, Question
from parley.checkpoints import Checkpoint
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling

CONFIG = wire.SessionConfig(
    turn_detection=wire.TURN_DETECTION_MANUAL, text_only=True, sampling=Sampling(max_tokens=20, seed=5)
)


@pytest.fixture(scope="module")
def second(tmp_path_factory, tiny_checkpoint):
    return second_checkpoint(tmp_path_factory.mktemp("second"), tiny_checkpoint)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, tiny_checkpoint):
    return second_checkpoint(tmp_path_factory.mktemp("damaged"), tiny_checkpoint, damaged=True)


async def ask_while(stack, work) -> tuple[list, object]:
    """The answers in one conversation until `work` has returned and one more has come, and what it returned."""
    working, answers = asyncio.create_task(asyncio.to_thread(work)), []
    async with Client(stack.state.gateway) as client:
        await client.open(CONFIG)
        while not working.done():
            answers.append(await client.ask(Question(text="hello")))
        answers.append(await client.ask(Question(text="hello")))
    return answers, await working


def weights(stack, answers) -> list[str]:
    """The weights of each answer, which are one name alone."""
    logged = weights_of_turns(stack.directory / "logs" / "gateway.jsonl")
    names = [logged[answer.turn_id] for answer in answers]
    assert all(len(each) == 1 for each in names), names
    return [name for (name,) in names]


async def test_a_conversation_goes_on_while_the_stack_is_promoted_and_goes_back(stack, parley, second, tiny_checkpoint):
    old, new = (Checkpoint.open(folder).fingerprint for folder in (tiny_checkpoint, second))
    answers, done = await ask_while(stack, lambda: parley("promote", second))
    assert done.stdout.splitlines()[-1] == f"serving {new} from {second}"
    assert [answer.error for answer in answers] == [None] * len(answers) and all(each.complete for each in answers)
    used = weights(stack, answers)
    assert used[0] == old and used[-1] == new and used == sorted(used, key=[old, new].index)
    assert json.loads(parley("status", "--json").stdout)["checkpoint"] == str(second)

    answers, done = await ask_while(stack, lambda: parley("promote", "--back"))
    assert done.stdout.splitlines()[-1].startswith(f"serving {old} from {tiny_checkpoint}")
    assert all(each.complete for each in answers) and weights(stack, answers)[-1] == old


async def test_a_damaged_checkpoint_changes_nothing(stack, parley, damaged, tiny_checkpoint):
    answers, done = await ask_while(stack, lambda: parley("promote", damaged, check=False))
    assert done.returncode == 1 and "does not have the hash in the manifest" in done.stderr.splitlines()[-1]
    assert done.stderr.strip().endswith("everything stays on the old checkpoint") and "Traceback" not in done.stderr
    assert all(each.complete for each in answers)
    assert set(weights(stack, answers)) == {Checkpoint.open(tiny_checkpoint).fingerprint}
    assert json.loads(parley("status", "--json").stdout)["checkpoint"] == str(tiny_checkpoint)
