"""`/v1/models`: the one model that is served."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter
from openai.types import Model
from pydantic import BaseModel

from services.gateway.api.openai.names import ModelNames


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


def add_routes(router: APIRouter, names: ModelNames) -> None:
    served = Model(id=names.served, object="model", created=int(time.time()), owned_by="parley")

    @router.get("/models", response_model_exclude_unset=True)
    async def list_models() -> ModelList:
        """The served model. Names that are aliases of it are not listed."""
        return ModelList(object="list", data=[served])

    @router.get("/models/{model:path}", response_model_exclude_unset=True)
    async def get_model(model: str) -> Model:
        """The served model, by its name or an alias."""
        names.resolve(model)
        return served
