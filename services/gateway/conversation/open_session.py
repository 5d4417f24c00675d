"""The session of a connection: opened or resumed, and its configuration, which the client may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import grpc

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.gateway.conversation.tools import check_tools
from services.gateway.events import SessionReady, SessionUpdated
from services.gateway.events.session import Session, SessionConfig
from services.gateway.media.audio import check_rate
from services.gateway.media.voice_activity import check_vad_rate
from services.gateway.settings import ConversationSettings
from services.gateway.store.protocols import Store
from services.gateway.upstream.calls import Releases
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much


class OpenSession:
    def __init__(self, store: Store, releases: Releases, model_rate: int, settings: ConversationSettings):
        """`model_rate`: Hz, of the audio that the speech encoder takes."""
        self._store, self._releases, self._settings = store, releases, settings
        self._model_rate = model_rate
        self.session = Session("", SessionConfig())
        self._owner = ""

    async def open(self, session_id: str, changes: Mapping[str, Any], owner: str = "") -> SessionReady:
        """`session_id` empty: a new session. `owner`: id of the client's API key. Raises `ServiceError`, with nothing
        kept."""
        self._owner = owner
        decoder = await self._releases.current.describe("speech_decoder")
        kept = await self._store.sessions.open(session_id, owner) if session_id else Session("", SessionConfig())
        config = self._changed(kept.config, changes, decoder)
        if session_id:
            await self._store.sessions.update(session_id, config)
            self.session = replace(kept, config=config)
        else:
            self.session = await self._store.sessions.create(config, owner)
        return SessionReady(
            session_id=self.session.id,
            resumed=bool(session_id),
            items=self.session.items,
            output_sample_rate=decoder.output_sample_rate,
            config=config,
            speakers=tuple(speaker.name for speaker in decoder.speakers),
            last_item_id=self.session.last_item_id,
        )

    async def update(self, changes: Mapping[str, Any]) -> SessionUpdated:
        """Holds from the next turn on. Raises `ServiceError`, with nothing changed."""
        decoder = await self._releases.current.describe("speech_decoder")
        kept = await self._store.sessions.open(self.session.id, self._owner)  # another connection may have changed it
        config = self._changed(kept.config, changes, decoder)
        await self._store.sessions.update(self.session.id, config)
        self.session = replace(self.session, config=config)
        return SessionUpdated(config)

    def _changed(self, config: SessionConfig, changes: Mapping[str, Any], decoder: ModelInfo) -> SessionConfig:
        """Raises for changes that cannot be. A speaker that the decoder no longer has becomes its default."""
        names = [speaker.name for speaker in decoder.speakers]
        if config.speaker not in names:
            config = config.model_copy(update={"speaker": ""})
        changes = dict(changes)
        if "turn_taking" in changes:  # field by field
            changes["turn_taking"] = config.turn_taking.model_copy(update=dict(changes["turn_taking"]))
        config = config.model_copy(update=changes)
        check_rate(config.input_sample_rate)
        if not config.manual_turns:
            check_vad_rate(self._model_rate)
        if len(config.speaker_tokens) not in (0, decoder.num_speaker_tokens):
            message = f"a speaker has {decoder.num_speaker_tokens} tokens; got {len(config.speaker_tokens)}"
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
        check_tools(config, self._settings)
        length, limit = len(config.instructions), self._settings.max_text_chars
        if length > limit:
            message = f"instructions of {length} characters are above the limit of {limit}"
            raise too_much("gateway", "max_text_chars", message)
        if config.speaker and config.speaker not in names:
            message = f"speaker {config.speaker!r} is unknown; use one of {', '.join(names)}"
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
        return config
