"""What a turn is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.gateway.events.items import Item
from services.gateway.events.session import SessionConfig


@dataclass(frozen=True)
class TurnRequest:
    """`items`: read in place of the session's history. `kept`: what it answers becomes part of the history.

    A turn that does not answer only makes an item of its question. `client`: what the API keeps with the answer.
    """

    config: SessionConfig
    answers: bool = True
    items: tuple[Item, ...] | None = None
    kept: bool = True
    explicit: bool = False  # the client has asked for an answer; otherwise its speech may turn out to need none
    client: Mapping[str, Any] = field(default_factory=dict)
