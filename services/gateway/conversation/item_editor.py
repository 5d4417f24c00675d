"""What a client may do with the items of its session: create, retrieve, truncate and delete."""

from __future__ import annotations

import secrets

import grpc
from pydantic_core import from_json

from services.gateway.events import ItemCreated, ItemDeleted, ItemTruncated
from services.gateway.events.items import Item
from services.gateway.store.protocols import Items
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

ROOT = "root"  # in place of the id of the item before: in front of all
MAX_PARTS = 64  # of an item
MAX_NAME = 128  # characters of an item's id, a call's id and a function's name


class ItemEditor:
    """Every method raises `ServiceError` for what cannot be done, with nothing changed."""

    def __init__(self, items: Items, session_id: str, max_text_chars: int):
        self._items, self._session_id, self._max_text_chars = items, session_id, max_text_chars

    async def create(self, item: Item, previous_item_id: str) -> ItemCreated:
        """`previous_item_id` empty: at the end."""
        self._check(item)
        if not item.id:
            item = item.model_copy(update={"id": f"item_{secrets.token_urlsafe(9)}"})
        previous = await self._items.insert(self._session_id, item, previous_item_id)
        return ItemCreated(item, previous)

    async def get(self, item_id: str) -> Item:
        return await self._items.get(self._session_id, item_id)

    async def truncate(self, item_id: str, samples: int) -> ItemTruncated:
        if samples < 0:
            raise _refuse(f"samples is {samples}; it is how many samples of the answer were played, 0 or more")
        await self._items.truncate(self._session_id, item_id, samples)
        return ItemTruncated(item_id, samples)

    async def delete(self, item_id: str) -> ItemDeleted:
        await self._items.delete(self._session_id, item_id)
        return ItemDeleted(item_id)

    def _check(self, item: Item) -> None:
        for name in ("id", "call_id", "name"):
            if len(getattr(item, name)) > MAX_NAME:
                raise _refuse(f"the {name} of an item is longer than {MAX_NAME} characters")
        if item.id == ROOT:
            raise _refuse(f"an item cannot have the id {ROOT!r}; it means the front of the session")
        if item.type == "message" and not (item.role and (item.text.strip() or any(part.ref for part in item.parts))):
            raise _refuse("a message item has the role user, assistant or system, and text, speech or a picture")
        if item.type == "function_call" and not (item.call_id and item.name and is_object(item.arguments)):
            raise _refuse("a function call item has a call_id, a name, and arguments that are a JSON object")
        if item.type == "function_call_output" and not item.call_id:
            raise _refuse("a function call output item has the call_id of its call")
        if len(item.parts) > MAX_PARTS:
            raise too_much(
                "gateway", "max_parts", f"an item of {len(item.parts)} parts is above the limit of {MAX_PARTS}"
            )
        length = len(item.text) + len(item.arguments) + len(item.output)
        if length > self._max_text_chars:
            message = f"an item of {length} characters is above the limit of {self._max_text_chars}"
            raise too_much("gateway", "max_text_chars", message)


def is_object(text: str) -> bool:
    try:
        return isinstance(from_json(text, allow_inf_nan=False), dict)
    except ValueError:
        return False


def _refuse(message: str) -> ServiceError:
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
