"""The Serve of a running cluster, through the REST API of its head's dashboard."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.ray.serve_config import SLOTS, Release, application_name
from services.registry import SERVICES

TIMEOUT = 30.0  # seconds of one request
POLL_SECONDS = 0.5
FAILED = ("DEPLOY_FAILED", "UNHEALTHY")


class ClusterError(Exception):
    """The cluster cannot be reached or refuses; the message says which and why."""


def auth_token() -> str:
    """Ray's token: RAY_AUTH_TOKEN, or what the file RAY_AUTH_TOKEN_PATH holds; "" where neither is set."""
    token, path = os.environ.get("RAY_AUTH_TOKEN", ""), os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    return token or (Path(path).read_text().strip() if path else "")


@dataclass(frozen=True)
class Cluster:
    """`url`: of the dashboard, as http://head:8265. All methods raise `ClusterError`."""

    url: str
    token: str = ""

    def config(self) -> dict[str, Any]:
        """What the cluster was told to run, in the form that `deploy` takes; no application where nothing runs."""
        details = self._details()
        deployed = [application["deployed_app_config"] for application in details["applications"].values()]
        return {"applications": [config for config in deployed if config]}

    def releases(self) -> list[Release]:
        """The releases that are deployed, by slot."""
        checkpoints = {config["name"]: config.get("args", {}).get("checkpoint", "") for config in self._configs()}
        first = next(iter(SERVICES))
        names = {slot: application_name(first, slot) for slot in SLOTS}
        return [Release(slot, checkpoints[name]) for slot, name in names.items() if name in checkpoints]

    def replicas(self) -> dict[str, int]:
        """Application → the replicas that it should have now, where Serve has begun to start it."""
        found = self._details()["applications"]
        deployments = {name: list(each["deployments"].values()) for name, each in found.items()}
        return {name: each[0]["target_num_replicas"] for name, each in deployments.items() if each}

    def deploy(self, config: dict[str, Any]) -> None:
        """Tells Serve to run this and nothing else; returns when it has been accepted."""
        self._request("PUT", config)

    def wait_until_running(
        self, applications: Sequence[str], seconds: float, on_progress: Callable[[str], None] = lambda text: None
    ) -> None:
        """Returns when all of them run. Raises `ClusterError` when one has failed or `seconds` have passed."""
        until = time.monotonic() + seconds
        said = ""
        while True:
            found = self._details()["applications"]
            states = {name: found.get(name, {}).get("status", "NOT_STARTED") for name in applications}
            if failed := [name for name, state in states.items() if state in FAILED]:
                raise ClusterError("; ".join(f"{name} failed to start: {cause(found[name])}" for name in failed))
            waiting = [name for name, state in states.items() if state != "RUNNING"]
            if not waiting:
                return
            if time.monotonic() > until:
                raise ClusterError(f"{', '.join(waiting)} not running after {seconds:g} s")
            text = f"waiting for {', '.join(waiting)}"
            if text != said:
                on_progress(text)
                said = text
            time.sleep(POLL_SECONDS)

    def _configs(self) -> list[dict[str, Any]]:
        return self.config()["applications"]

    def _details(self) -> dict[str, Any]:
        return self._request("GET")

    def _request(self, method: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        try:
            address = f"{self.url.rstrip('/')}/api/serve/applications/"
            request = urllib.request.Request(address, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else error.reason
            raise ClusterError(f"Serve at {self.url} answers HTTP {error.code}: {reason}") from None
        except (OSError, ValueError) as error:
            raise ClusterError(f"Serve cannot be reached at {self.url}: {getattr(error, 'reason', error)}") from None
        return json.loads(text) if method == "GET" else None


def cause(application: dict[str, Any]) -> str:
    """The last line of what Serve knows of a failed application: of its deployments first, which say more."""
    messages = [deployment.get("message", "") for deployment in application.get("deployments", {}).values()]
    lines = [text.strip().splitlines()[-1] for text in [*messages, application.get("message", "")] if text.strip()]
    return lines[0] if lines else "no reason given"
