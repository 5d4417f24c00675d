"""Records → samples: LLaVA's and VITA's, and the other forms that `record_forms` brings into theirs.

Notable points:
- Records are accepted as users have them, from a JSON list or JSON lines; nothing is rewritten on disk.
- A bad record is counted and shown with the reason. Nothing is repaired or left out without a message.
- `inserted_id` marks the answer that must be a refusal: its state is `nothing`.
- Media stay paths, or the bytes of files, until their samples or pixels are needed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from training.data.record_error import RecordError
from training.data.record_forms import to_llava
from training.data.record_media import MARKER_PATTERN, MARKERS, media_of, media_part
from training.data.sample import Sample, parts, turn_states

ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


@dataclass
class Bad:
    """A record that was not used, and why."""

    where: str  # "file:line" or "file[index]"
    id: str
    reason: str
    detail: str

    def __str__(self) -> str:
        name = f" (id {self.id})" if self.id else ""
        return f"{self.where}{name}: {self.detail}"


@dataclass
class Report:
    """What was found in a file."""

    path: Path
    good: int = 0
    turns: int = 0
    refusals: int = 0
    media: Counter = field(default_factory=Counter)  # kind → files
    sets: Counter = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)

    @property
    def reasons(self) -> Counter:
        return Counter(bad.reason for bad in self.bad)

    def __str__(self) -> str:
        media = ", ".join(f"{count} {kind}" for kind, count in sorted(self.media.items())) or "no media"
        lines = [
            f"{self.path}: {self.good + len(self.bad)} records, {self.good} good, {len(self.bad)} bad; "
            f"{self.turns} answers, {self.refusals} of them refusals; {media}"
        ]
        lines += [f"  {count} × {reason}" for reason, count in self.reasons.most_common()]
        return "\n".join(lines + [f"  {bad}" for bad in self.bad])


def read_raw(path: str | Path) -> Iterator[tuple[str, Any]]:
    """(where, record) for each record of a JSON list or JSON lines file; a line that is not JSON gives a `Bad` instead.

    JSON lines are read one by one, so a file larger than memory is fine. Raises `ValueError` if there is no such file,
    or if it begins like a JSON list and is not one.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no such records file: {path}")
    with path.open(encoding="utf-8-sig") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        if start != "[":
            for number, line in enumerate(file, 1):
                where = f"{path.name}:{number}"
                if line.strip():
                    try:
                        yield where, json.loads(line)
                    except json.JSONDecodeError as error:
                        yield where, Bad(where, "", "not JSON", f"not JSON: {error.msg} at column {error.colno}")
            return
        try:
            records = json.load(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: not a JSON list: {error.msg} at line {error.lineno}") from error
    for index, record in enumerate(records):
        yield f"{path.name}[{index}]", record


def conversation_of(record: dict) -> list[tuple[str, str]]:
    """(role, text) of each turn. Raises `RecordError` unless users and answers alternate and nothing is empty."""
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise RecordError(
            "no conversations", '"conversations" must be a list with at least one question and one answer'
        )
    read = []
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str) or str(turn.get("from")) not in ROLES:
            raise RecordError(
                "bad turn", f'turn {index} needs "from" (human, gpt or system) and a string "value": {turn!r}'[:200]
            )
        read.append((ROLES[turn["from"]], turn["value"]))
    roles = [role for role, _ in read]
    body = roles[1:] if roles[0] == "system" else roles
    if not body or body != ["user", "assistant"] * (len(body) // 2):
        raise RecordError(
            "turns do not alternate", f"human and gpt must alternate and end with gpt, found {', '.join(roles)}"
        )
    return read


def to_sample(record: Any, folder: str | Path = ".", need_files: bool = True) -> Sample:
    """A record as a `Sample`; relative paths are under `folder`.

    Raises `RecordError` if the record is bad, or if `need_files` and a file is missing.
    """
    record = to_llava(record)
    files, turns = media_of(record), conversation_of(record)
    unmarked = check_markers(files, turns)
    queues = {
        kind: iter([media_part(kind, value, Path(folder), need_files) for value in values])
        for kind, values in files.items()
    }
    queues["audio"] = iter(with_transcripts(list(queues["audio"]), record.get("transcripts")))
    refusal = refused_turn(record, turns)
    first = next(index for index, (role, _) in enumerate(turns) if role == "user")
    messages: list[dict] = []
    for index, (role, text) in enumerate(turns):
        if role == "user":
            content = [next(queues[kind]) for kind in (unmarked if index == first else ())]
            content += split_markers(text, queues)
            if not content:
                raise RecordError("empty question", f"turn {index} ({role}) has neither text nor media")
            messages.append({"role": role, "content": content})
        else:
            messages.append(written_message(index, role, text, refused=index == refusal))
    about = {"id": str(record["id"])} if "id" in record else {}
    return Sample(messages, str(record.get("set", "records")), turn_states(messages)[-1], about)


def with_transcripts(spoken: list[dict], transcripts: Any) -> list[dict]:
    """Parts of audio with what is said in them, where the record says it: a text or null each, in `transcripts`."""
    if transcripts is None:
        return spoken
    right = isinstance(transcripts, list) and all(text is None or isinstance(text, str) for text in transcripts)
    if not right or len(transcripts) != len(spoken):
        raise RecordError(
            "bad transcripts", f'"transcripts" must be a list of {len(spoken)} texts or nulls, one an audio file'
        )
    return [part | ({"transcript": text} if text else {}) for part, text in zip(spoken, transcripts, strict=True)]


def check_markers(files: dict[str, list], turns: list[tuple[str, str]]) -> list[str]:
    """The kinds of media that have a file but no marker. Raises `RecordError` if markers and files differ otherwise."""
    questions = "\n".join(text for role, text in turns if role == "user")
    marked = Counter(MARKERS[marker] for marker in MARKER_PATTERN.findall(questions))
    unmarked = []
    for kind, paths in files.items():
        # LLaVA leaves out the marker of a single picture, which belongs in front of the first question.
        if marked[kind] == 0 and len(paths) == 1 and kind != "audio":
            unmarked.append(kind)
        elif marked[kind] != len(paths):
            raise RecordError(
                "markers and files differ", f"{marked[kind]} <{kind}> markers for {len(paths)} {kind} files"
            )
    return [kind for kind in ("image", "video") if kind in unmarked]


def written_message(index: int, role: str, text: str, refused: bool) -> dict:
    """A message of the assistant or the system, which holds text alone."""
    if MARKER_PATTERN.search(text):
        raise RecordError("marker in an answer", f"turn {index} ({role}) holds a media marker")
    if refused:
        return {"role": role, "content": text, "state": "nothing"}
    if not text.strip():
        raise RecordError("empty answer", f"turn {index} ({role}) is empty and not marked by inserted_id")
    return {"role": role, "content": text}


def split_markers(text: str, queues: dict[str, Iterator[dict]]) -> list[dict]:
    """A user's text as parts, each marker replaced by the next file of its kind."""
    content, start = [], 0
    for match in [*MARKER_PATTERN.finditer(text), None]:
        piece = text[start : match.start() if match else len(text)].strip()
        if piece:
            content.append({"type": "text", "text": piece})
        if match:
            kind, start = MARKERS[match.group()], match.end()
            content.append(next(queues[kind]))
    return content


def refused_turn(record: dict, turns: list[tuple[str, str]]) -> int | None:
    """The index of the answer that must be a refusal, or None."""
    index = record.get("inserted_id")
    if index is None:
        return None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(turns):
        raise RecordError(
            "bad inserted_id", f"inserted_id {index!r} is no turn of this conversation of {len(turns)} turns"
        )
    if turns[index][0] != "assistant":
        raise RecordError("bad inserted_id", f"inserted_id {index} is a {turns[index][0]} turn; it must mark an answer")
    return index


def read_records(
    path: str | Path, folder: str | Path | None = None, need_files: bool = True
) -> tuple[list[Sample], Report]:
    """All good samples of a file, and the report of every bad record. `folder` defaults to the file's own."""
    path = Path(path)
    folder = path.parent if folder is None else Path(folder)
    report, samples, seen = Report(path), [], {}
    for where, record in read_raw(path):
        if isinstance(record, Bad):
            report.bad.append(record)
            continue
        name = str(record.get("id", "")) if isinstance(record, dict) else ""
        try:
            sample = to_sample(record, folder, need_files)
            # By what it says, not by its id: in LLaVA's own files several records of one picture share its id.
            key = blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).digest()
            if seen.setdefault(key, where) != where:
                raise RecordError("record seen before", f"the same record is already at {seen[key]}")
        except RecordError as error:
            report.bad.append(Bad(where, name, error.reason, str(error)))
            continue
        samples.append(sample)
        report.good += 1
        report.sets[sample.task] += 1
        states = turn_states(sample.messages)
        report.turns += len(states)
        report.refusals += states.count("nothing")
        for message in sample.messages:
            report.media.update(part["type"] for part in parts(message["content"]) if part["type"] != "text")
    return samples, report
