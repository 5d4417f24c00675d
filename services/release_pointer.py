"""Which release new questions go to: a value in the sessions' Redis that `parley promote` writes and gateways read.

Each gateway reports beside it which release it uses and how many of its turns each slot still has, so that a promotion
knows when nobody uses the old one any more.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

POINTER_KEY = "parley:{release}:pointer"
LOCK_KEY = "parley:{release}:promotion"
GATEWAY_KEY = "parley:{release}:gateway:"  # and the gateway's id

POLL_SECONDS = 0.5  # between two reports of a gateway: it learns of a promotion this late at most
REPORT_SECONDS = 5.0  # life of a report: a gateway that is silent for longer has ended


class Pointer(BaseModel):
    """`weights`: what all services of the release say that they run."""

    slot: str
    checkpoint: str = Field("", description="Folder on the nodes; empty: that of PARLEY_CHECKPOINT")
    weights: str = ""
    previous_checkpoint: str | None = Field(None, description="Where `parley promote --back` goes; none: nowhere")


class GatewayReport(BaseModel):
    slot: str  # that new questions go to
    turns: dict[str, int] = Field(default_factory=dict)  # slot → turns that are bound to it
