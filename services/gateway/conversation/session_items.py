"""The items of a session as its client reads and changes them: also that of an answer that is being made."""

from __future__ import annotations

from services.gateway.conversation.item_editor import ItemEditor
from services.gateway.conversation.turns import Turns
from services.gateway.events import ItemCreated, ItemDeleted, ItemRetrieved, ItemTruncated
from services.gateway.events.items import Item, answer_item_id
from services.gateway.media.recordings import Recordings
from services.gateway.store.protocols import Items


class SessionItems:
    """Every method raises `ServiceError` for what cannot be done, with nothing changed."""

    def __init__(self, session_id: str, store: Items, turns: Turns, recordings: Recordings, max_text_chars: int):
        self._session_id, self._store, self._turns, self._recordings = session_id, store, turns, recordings
        self._editor = ItemEditor(store, session_id, max_text_chars)

    async def create(self, item: Item, previous_item_id: str) -> ItemCreated:
        created = await self._editor.create(item, previous_item_id)
        self._turns.history_changed()
        return created

    async def get(self, item_id: str) -> Item:
        making = self._making(item_id)
        return making if making is not None else await self._editor.get(item_id)

    async def retrieve(self, item_id: str, with_audio: bool) -> ItemRetrieved:
        item = await self.get(item_id)
        recording = await self._recordings.get(self._session_id, item_id) if with_audio else None
        if recording is None:
            return ItemRetrieved(item)
        played = len(recording.audio) if item.played is None else 2 * item.played
        return ItemRetrieved(item, recording.audio[:played], recording.sample_rate)

    async def truncate(self, item_id: str, samples: int) -> ItemTruncated:
        if (turn := self._turns.find(_turn_of(item_id))) is not None:
            turn.answer.stop_playing()
        if self._making(item_id) is not None:
            await self.set_played(_turn_of(item_id), samples)
            truncated = ItemTruncated(item_id, samples)
        else:
            truncated = await self._editor.truncate(item_id, samples)
        self._turns.history_changed()
        return truncated

    async def delete(self, item_id: str) -> ItemDeleted:
        turn = self._turns.find(_turn_of(item_id))
        if turn is not None and not turn.record.written and item_id == answer_item_id(turn.id):
            turn.drop_answer()
            deleted = ItemDeleted(item_id)
        else:
            deleted = await self._editor.delete(item_id)
        self._turns.history_changed()
        return deleted

    async def set_played(self, turn_id: str, samples: int) -> None:
        """How far the client has played the audio of a turn."""
        turn = self._turns.find(turn_id)
        if turn is None or turn.record.written:
            await self._store.set_played(self._session_id, answer_item_id(turn_id), samples)
        if turn is not None:
            turn.answer.set_played(samples)

    def _making(self, item_id: str) -> Item | None:
        """The item of an answer that is not written yet, as far as it has come."""
        turn = self._turns.find(_turn_of(item_id))
        if turn is None or turn.record.written:
            return None
        return next((item for item in turn.items() if item.id == item_id and item.role == "assistant"), None)


def _turn_of(item_id: str) -> str:
    """The turn that made an item with this id, if a turn did."""
    return item_id.removeprefix("item_").rpartition("_")[0]
