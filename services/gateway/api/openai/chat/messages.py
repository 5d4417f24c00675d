"""Messages of a chat request → the system prompt and the items that the conversation core answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence

import grpc

from services.gateway.api.openai.chat.request import (
    AssistantMessage,
    AudioPart,
    ChatRequest,
    FramesPart,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    VideoPart,
)
from services.gateway.api.openai.errors import ApiError, error_of
from services.gateway.api.openai.media_urls import MediaUrls, read_base64
from services.gateway.conversation.item_editor import is_object
from services.gateway.conversation.stateless import StatelessTurn
from services.gateway.events.items import Item, ItemPart
from services.gateway.media.audio_files import read_audio
from services.gateway.settings import ConversationSettings, MediaSettings
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

BEGINNING = 2048  # characters of a part
FAULTS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)

Transcript = Callable[[str], Awaitable[str | None]]  # id of an earlier spoken answer → what it said
CountAudio = Callable[[float], Awaitable[None]]  # seconds of the caller's audio; raises where there are too many


class MessageReader:
    """Of one request."""

    def __init__(
        self,
        turn: StatelessTurn,
        urls: MediaUrls,
        transcript_of: Transcript,
        count_audio: CountAudio,
        settings: ConversationSettings,
        media: MediaSettings,
    ):
        self.audio_embeddings = self.image_embeddings = 0  # read so far
        self._called: set[str] = set()  # ids of the calls so far
        self._turn, self._urls = turn, urls
        self._transcript_of, self._count_audio = transcript_of, count_audio
        self._settings, self._media = settings, media

    async def read(self, request: ChatRequest) -> tuple[str, list[Item]]:
        """(instructions, items). System messages are one system prompt, wherever they stand; one that is last is what
        is answered. Raises `ApiError`, which names the message at fault.
        """
        *_, last = request.messages
        if isinstance(last, AssistantMessage):
            message = "the last message is what is answered; it cannot be of the assistant"
            raise ApiError(message, "invalid_value", f"messages.{len(request.messages) - 1}.role")
        instructions, items = [], []
        for number, message in enumerate(request.messages):
            with _naming(f"messages.{number}"):
                if isinstance(message, SystemMessage) and message is not last:
                    instructions.append(_text_of(message.content))
                else:
                    items += await self._items(message, f"messages.{number}")
        return "\n\n".join(filter(None, instructions)), items

    async def _items(self, message: Message, at: str) -> list[Item]:
        match message:
            case ToolMessage():
                if message.tool_call_id not in self._called:
                    reason = "names no call of an assistant's message before it"
                    raise ApiError(f"{at}.tool_call_id {reason}", "invalid_value", f"{at}.tool_call_id")
                output = _text_of(message.content)
                return [Item(id="", type="function_call_output", call_id=message.tool_call_id, output=output)]
            case AssistantMessage():
                return await self._assistant(message, at)
        content = message.content  # of the user, or of a system message that is last
        if isinstance(content, str):
            content = [TextPart(type="text", text=content)]
        self._check_count(content)
        parts = []
        for number, part in enumerate(content):
            with _naming(f"{at}.content.{number}"):
                parts.append(await self._part(part, f"{at}.content.{number}"))
        return [Item(id="", role="user", parts=parts)]

    async def _assistant(self, message: AssistantMessage, at: str) -> list[Item]:
        text = message.refusal or "" if message.content is None else _text_of(message.content)
        if message.audio is not None and not text:
            said = await self._transcript_of(message.audio.id)
            if said is None:
                reason = "names no answer that is still kept; send its transcript as content"
                raise ApiError(f"{at}.audio.id {reason}", "invalid_value", f"{at}.audio.id")
            text = said
        items = [Item(id="", role="assistant", parts=[ItemPart(kind="text", text=text)])] if text else []
        for number, call in enumerate(message.tool_calls or ()):
            items.append(_call(call, f"{at}.tool_calls.{number}.function.arguments"))
            self._called.add(call.id)
        return items

    def _check_count(self, content: Sequence) -> None:
        pictures = sum(isinstance(part, ImagePart | VideoPart | FramesPart) for part in content)
        if pictures > self._settings.max_pictures:
            message = f"{pictures} pictures and videos in one message; at most {self._settings.max_pictures} are read"
            raise too_much("gateway", "max_pictures", message)

    async def _part(self, part, at: str) -> ItemPart:
        match part:
            case TextPart():
                return ItemPart(kind="text", text=part.text)
            case AudioPart():
                return await self._audio(part, f"{at}.input_audio.data")
        encoded = await self._picture(part, at)
        self.image_embeddings += encoded.ref.length
        return encoded

    async def _picture(self, part: ImagePart | VideoPart | FramesPart, at: str) -> ItemPart:
        parts, session_id, calls = self._turn.parts, self._turn.session_id, self._turn.calls
        match part:
            case ImagePart():
                data = await self._urls.read(part.image_url.url, "image", f"{at}.image_url.url")
                return await parts.encode_image(data, session_id, calls)
            case VideoPart():
                data = await self._urls.read(part.video_url.url, "video", f"{at}.video_url.url")
                return await parts.encode_video(data, session_id, calls)
        if len(part.video) > self._settings.max_frames:
            message = f"{len(part.video)} frames are above the limit of {self._settings.max_frames}; send fewer"
            raise too_much("gateway", "max_frames", message)
        frames = [await self._urls.read(url, "image", f"{at}.video.{i}") for i, url in enumerate(part.video)]
        return await parts.encode_frames(frames, session_id, calls)

    async def _audio(self, part: AudioPart, param: str) -> ItemPart:
        data = await asyncio.to_thread(read_base64, part.input_audio.data, param)
        rate = (await self._turn.calls.describe("speech_encoder")).input_sample_rate
        longest = self._media.max_audio_seconds
        pcm = await asyncio.to_thread(read_audio, data, rate, longest, part.input_audio.format)
        seconds = len(pcm) / 2 / rate
        await self._count_audio(seconds)
        encoded = await self._turn.parts.encode_audio(pcm, self._turn.session_id, self._turn.calls)
        self.audio_embeddings += encoded.ref.length
        return encoded


@contextlib.contextmanager
def _naming(param: str) -> Iterator[None]:
    """A part that is at fault is named; that the caller must wait, or a service is away, is no part's fault."""
    try:
        yield
    except ServiceError as error:
        told = error_of(error)
        if error.code in FAULTS and not error.retry_after:
            told.param = param
        raise told from error


def _call(call: ToolCall, param: str) -> Item:
    """Raises `ApiError` where its arguments are no JSON object."""
    function = call.function
    if not is_object(function.arguments or "{}"):
        raise ApiError(f"{param} is no JSON object", "invalid_value", param)
    return Item(id="", type="function_call", call_id=call.id, name=function.name, arguments=function.arguments)


def _text_of(content: str | Sequence) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)


def beginning_of(message: Message) -> list[str]:
    """Enough to tell one chat from another, and little of a picture."""
    content = message.content or ""
    parts = [content] if isinstance(content, str) else map(_written, content)
    return [message.role, *(f"{len(part)} {part[:BEGINNING]}" for part in parts)]


def _written(part) -> str:
    """What a part holds, as it was sent."""
    match part:
        case ImagePart():
            return part.image_url.url
        case VideoPart():
            return part.video_url.url
        case FramesPart():
            return part.video[0]
        case AudioPart():
            return part.input_audio.data
        case TextPart():
            return part.text
    return part.refusal
