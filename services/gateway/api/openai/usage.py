"""What an answer cost, in OpenAI's counts: embeddings and codec frames are the tokens of pictures and audio."""

from __future__ import annotations

from openai.types import CompletionUsage
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails

from services.gateway.events import Usage


def completion_usage(usage: Usage, images: int, audio: int, frame_rate: float) -> CompletionUsage:
    """`images`, `audio`: their embeddings in the prompt. `frame_rate`: codec frames a second of the answer's audio."""
    frames = round(usage.audio_output_seconds * frame_rate)
    completion = usage.answer_tokens + frames
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=completion,
        total_tokens=usage.prompt_tokens + completion,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=usage.cached_tokens,
            audio_tokens=audio,
            image_tokens=images,
            text_tokens=max(0, usage.prompt_tokens - audio - images),
        ),
        completion_tokens_details=CompletionTokensDetails(
            audio_tokens=frames,
            text_tokens=usage.answer_tokens,
            reasoning_tokens=0,
            accepted_prediction_tokens=0,
            rejected_prediction_tokens=0,
        ),
    )
