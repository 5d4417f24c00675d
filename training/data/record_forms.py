"""Other forms of a record → LLaVA's: OpenAI `messages`, and captions.

Notable points:
- OpenAI's media parts become markers and files, so that one set of checks serves all forms.
- A record without turns that has a caption is a question with a fixed prompt, answered by the caption.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from training.data.record_error import RecordError
from training.data.record_media import FIELDS, KINDS, MARKER_PATTERN, MARKERS, is_file, media_of

CAPTION_PROMPT = "Describe the picture."
TURN_FIELDS = ("conversations", "messages")
CAPTION_FIELDS = ("caption", "text")
SPEAKERS = {"system": "system", "developer": "system", "user": "human", "assistant": "gpt"}  # OpenAI's role → LLaVA's
# Types of OpenAI's parts → kind of media; "image", "audio" and "video" are what `datasets` and transformers write.
PART_KINDS = {"image_url": "image", "input_audio": "audio", "audio_url": "audio", "video_url": "video"} | {
    kind: kind for kind in KINDS
}
EXTENSIONS = {
    "image": "jpg jpeg png webp gif",
    "audio": "wav flac ogg opus mp3",
    "video": "mp4 mkv webm mov avi m4v",
}
KIND_OF = {extension: kind for kind, all_of_kind in EXTENSIONS.items() for extension in all_of_kind.split()}


def to_llava(record: Any) -> dict:
    """`record` with LLaVA's fields; one that has them is given back as it is. Raises `RecordError`."""
    if not isinstance(record, dict):
        raise RecordError("not a record", f"a record is a JSON object, not {type(record).__name__}")
    if "file_name" in record:
        record = with_named_file(record)
    if not has_turns(record):
        return captioned(record)
    turns = next(record[name] for name in TURN_FIELDS if record.get(name) is not None)
    if isinstance(turns, list) and turns and isinstance(turns[0], dict) and "role" in turns[0]:
        return from_messages(record, turns)
    return {**record, "conversations": turns} if "messages" in record else record


def has_turns(record: dict) -> bool:
    """Whether a record is a dialogue, of whatever form."""
    return any(record.get(name) is not None for name in TURN_FIELDS)


def with_named_file(record: dict) -> dict:
    """`file_name`, as folders of pictures with a metadata.jsonl have it, as a field of its kind of media."""
    name = record["file_name"]
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is None:
        raise RecordError("bad media field", f'"file_name" must be a picture, sound or video, not {str(name)[:200]!r}')
    return {**record, kind: name}


def kind_of(name: str) -> str | None:
    """The kind of media of a file by its extension; None for other files."""
    return KIND_OF.get(PurePath(name).suffix.lower().removeprefix("."))


def captioned(record: dict) -> dict:
    """A picture or video with a caption as a question and an answer; a record without one is given back as it is."""
    caption = next((record[name] for name in CAPTION_FIELDS if isinstance(record.get(name), str)), None)
    if caption is None or not any(record.get(name) for name in FIELDS):
        return record
    turns = [{"from": "human", "value": CAPTION_PROMPT}, {"from": "gpt", "value": caption}]
    return {"set": "caption", **record, "conversations": turns}


def from_messages(record: dict, messages: list) -> dict:
    """An OpenAI record; media fields of the record, if any, belong to markers in its texts and to parts without a file.

    Raises `RecordError` for a message or part that is none.
    """
    waiting = {kind: iter(files) for kind, files in media_of(record).items()}
    files: dict[str, list] = {kind: [] for kind in KINDS}
    turns = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or str(message.get("role")) not in SPEAKERS:
            raise RecordError("bad turn", f'message {index} needs a "role": {", ".join(SPEAKERS)}: {message!r}'[:200])
        pieces = [piece for part in parts_of(index, message) for piece in marked(index, part, files, waiting)]
        turns.append({"from": SPEAKERS[message["role"]], "value": "\n".join(pieces)})
    for kind, rest in waiting.items():
        files[kind] += rest
    kept = {name: value for name, value in record.items() if name not in FIELDS and name != "messages"}
    return {**kept, **files, "conversations": turns}


def parts_of(index: int, message: dict) -> list[dict]:
    """The content of a message as parts."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content or ""}]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise RecordError("bad turn", f"the content of message {index} is no text or list of parts: {content!r}"[:200])
    return content


def marked(index: int, part: dict, files: dict[str, list], waiting: dict[str, Iterator]) -> Iterator[str]:
    """A part as text with markers; the files of these markers are appended to `files`."""
    kind = PART_KINDS.get(str(part.get("type")))
    if kind is None:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            known = ", ".join(["text", *PART_KINDS])
            raise RecordError("bad turn", f"message {index} has a part that is none of {known}: {part!r}"[:200])
        for marker in MARKER_PATTERN.findall(part["text"]):
            files[MARKERS[marker]] += take(waiting[MARKERS[marker]])
        yield part["text"]
        return
    value = file_of(part, kind)
    if value is not None and not is_file(value):
        raise RecordError("bad media field", f"message {index} has {kind} that is no file: {part!r}"[:200])
    files[kind] += take(waiting[kind]) if value is None else [value]
    yield f"<{kind}>"


def take(waiting: Iterator) -> list:
    """The next file in a list of its own; none where there is none, which the count of markers will tell."""
    return [value for value in [next(waiting, None)] if value is not None]


def file_of(part: dict, kind: str) -> Any:
    """What a media part names, as `is_file` takes it; None for a part that only says where a file belongs."""
    value = next((part[key] for key in (part["type"], "path", "url") if part.get(key) is not None), None)
    if isinstance(value, dict) and "data" in value:
        return f"data:{kind}/{value.get('format', '')};base64,{value['data']}"
    return value.get("url", value) if isinstance(value, dict) else value
