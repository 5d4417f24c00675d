"""What spoken answers said is found by whoever was told it, for a while, and by nobody else."""

from __future__ import annotations

from services.gateway.store.spoken_answers import LIFE_SECONDS, MAX_CHARACTERS, SpokenAnswers


async def test_an_answer_is_found_by_its_owner_until_its_time_is_over(redis):
    answers = SpokenAnswers(redis)
    await answers.put("me", "audio_1", "grün, they said")
    assert await answers.get("me", "audio_1") == "grün, they said"
    assert await answers.get("you", "audio_1") is None and await answers.get("me", "audio_2") is None
    assert 0 < await redis.ttl("parley:spoken:me:audio_1") <= LIFE_SECONDS
    await answers.put("me", "audio_3", "x" * (MAX_CHARACTERS + 5))
    assert len(await answers.get("me", "audio_3")) == MAX_CHARACTERS
