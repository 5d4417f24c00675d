"""Random messages of a contract: fields that are there or not, extreme values, and bytes that are no message."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

DEPTH = 4  # of messages within messages
WHOLE = (0, 1, -1, 7, 300, 16_000, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63))
REAL = (0.0, 1.0, -1.0, 0.5, 1e30, -1e30, math.nan, math.inf)
TEXTS = ("", " ", "hello", "what colour is it?", "x" * 5000, "\0", "{}", "{", "root", "default", "🙂 é\u202e")
DATA = (0, 1, 2, 3, 640, 5000)  # bytes


def encoded(kind: type[Message], random: Random, **fields: Any) -> bytes:
    """A random message, in which `fields` are set; one in four is damaged, and some of those cannot be decoded."""
    data = bytearray(message(kind, random, **fields).SerializeToString())
    if random.random() < 0.25:
        at = random.randrange(len(data) + 1)
        data[at : at + random.randint(0, 4)] = random.randbytes(random.randint(0, 8))
    return bytes(data)


def message(kind: type[Message], random: Random, depth: int = DEPTH, **fields: Any) -> Message:
    """A random message; of a `oneof` the last field that is set stays."""
    made = kind()
    for field in kind.DESCRIPTOR.fields:
        if random.random() < 0.5:
            _fill(made, field, random, depth)
    made.MergeFrom(kind(**fields))
    return made


def _fill(made: Message, field: FieldDescriptor, random: Random, depth: int) -> None:
    """One field, or some elements of a repeated one."""
    if field.message_type is not None and not depth:
        return
    if field.is_repeated:
        for _ in range(random.choice((0, 1, 3))):
            _append(getattr(made, field.name), field, random, depth)
    elif field.message_type is not None:
        inner = getattr(made, field.name)
        inner.SetInParent()
        inner.CopyFrom(message(type(inner), random, depth - 1))
    else:
        setattr(made, field.name, _value(field, random))


def _append(elements: Any, field: FieldDescriptor, random: Random, depth: int) -> None:
    if field.message_type is not None:
        element = elements.add()
        element.CopyFrom(message(type(element), random, depth - 1))
    else:
        elements.append(_value(field, random))


def _value(field: FieldDescriptor, random: Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return random.randbytes(random.choice(DATA))
        case FieldDescriptor.CPPTYPE_STRING:
            return random.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return random.random() < 0.5
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return random.choice(REAL)
        case FieldDescriptor.CPPTYPE_ENUM:
            return random.choice([*field.enum_type.values_by_number, 99])
    return _whole(field, random)


def _whole(field: FieldDescriptor, random: Random) -> int:
    bits = 32 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    unsigned = field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    least, most = (0, (1 << bits) - 1) if unsigned else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return min(max(random.choice(WHOLE), least), most)
