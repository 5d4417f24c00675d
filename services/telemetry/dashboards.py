"""Writes the Grafana dashboards in `deploy/observability`: python -m services.telemetry.dashboards

A panel is a line here: title, what is drawn, unit, and a sentence that says what is normal and what to do. A test keeps
the files equal to what this writes, and checks every expression.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "deploy" / "observability" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24  # of Grafana's grid
SERVICE = '{service=~"$service"}'


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    targets: dict[str, str]  # legend → expression
    unit: str = "short"
    kind: str = "timeseries"  # or stat, table
    width: int = 8
    red_from: float | None = None  # the value from which it is alarming
    red_below: float | None = None
    instant: bool = False


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]
    height: int = 8


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """Of a histogram, over the interval that a point stands for."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


GATEWAY = '{service="gateway"}'

UP = Row(
    "Is it up?",
    (
        Panel(
            "Gateways ready",
            "Gateways that can serve a turn. 0: nobody is answered.",
            {"ready": "parley:gateways_ready:count"},
            kind="stat",
            width=4,
            red_below=1,
        ),
        Panel(
            "Missing",
            "What keeps a gateway from serving: 1 for each gateway that misses the part. Normally all are 0.",
            {"{{part}}": "sum by (part) (parley_gateway_missing)"},
            width=7,
            red_from=1,
        ),
        Panel(
            "Replicas",
            "Replicas of each service whose metrics Prometheus reads.",
            {"{{service}}": "parley:replicas:count"},
            width=6,
        ),
        Panel(
            "Turns that fail",
            "Share of the turns that ended in the last 10 minutes. Above 5 % somebody is paged.",
            {"failed": "parley:turns_failed:ratio_rate10m"},
            unit="percentunit",
            width=7,
            red_from=0.05,
        ),
    ),
)
FAST = Row(
    "Is it fast?",
    (
        Panel(
            "Time to the first audio",
            "From the end of the question, at the gateway. Above 1.5 s (p95) somebody is paged. "
            "A dot is a turn: its trace shows where the time went.",
            {
                "p50": quantile(0.5, "parley_first_audio_seconds", where=GATEWAY),
                "p95": quantile(0.95, "parley_first_audio_seconds", where=GATEWAY),
            },
            unit="s",
            red_from=1.5,
        ),
        Panel(
            "Compute for a second of audio (p95)",
            "Real-time factor. Above 1 speech is made slower than it is played, and answers have gaps.",
            {"{{service}}": "parley:real_time_factor:p95_5m"},
            red_from=1,
        ),
        Panel(
            "Parts of the first audio (p95)",
            "The LLM core from the end of the prompt to its first token; the speech decoder from the first whole "
            "clause to its first audio. What is left is the speech encoder and the way between them.",
            {
                "llm_core, first token": quantile(0.95, "parley_first_token_seconds"),
                "speech_decoder, first audio": quantile(
                    0.95, "parley_first_audio_seconds", where='{service="speech_decoder"}'
                ),
            },
            unit="s",
        ),
    ),
)
WAITS = Row(
    "Who waits?",
    (
        Panel(
            "Open turns",
            "question: it is being asked. waiting: it was asked and nothing is heard yet. answering: audio flows. Many "
            "that wait while none answers: a service hangs.",
            {"{{phase}}": "sum by (phase) (parley_open_turns)"},
        ),
        Panel(
            "Wait for an engine (p95)",
            "From the arrival of work to the engine's step that takes it. Above 0.5 s somebody is paged.",
            {"{{service}}": "parley:queue_seconds:p95_5m"},
            unit="s",
            red_from=0.5,
        ),
        Panel(
            "Queues",
            "Sequences, clauses or tiles that wait for an engine now.",
            {"{{service}}": "sum by (service) (parley_queue_length)"},
        ),
    ),
)
FULL = Row(
    "What is full?",
    (
        Panel(
            "Slots in use",
            "Of each service's engines, and of the gateways' connections. At 100 % more work waits or is refused.",
            {"{{service}}": "parley:engine_slots_used:ratio", "connections": "parley:connections:ratio"},
            unit="percentunit",
            red_from=0.9,
        ),
        Panel(
            "Refused",
            "Work refused, by the limit that it met. The names of the limits are settings (docs/serving.md).",
            {"{{service}} {{limit}}": rate("parley_refused_total", "service, limit")},
            unit="reqps",
        ),
        Panel(
            "Memory of caches",
            "KV caches and states of streams.",
            {"{{service}}": "sum by (service) (parley_cache_bytes)"},
            unit="bytes",
        ),
    ),
)
LOST = Row(
    "What breaks?",
    (
        Panel(
            "Turns by how they ended",
            "stop and length are whole answers; nothing: not meant for us; cancelled: interrupted.",
            {"{{reason}}": rate("parley_turns_total", "reason")},
            unit="reqps",
        ),
        Panel(
            "Lost connections to services",
            "Calls that a gateway repeats. A replica that is replaced shows as a peak; a line that stays is a storm.",
            {"{{service}}": rate("parley_reconnects_total", "service")},
            unit="reqps",
        ),
        Panel(
            "Failed calls to Redis",
            "By operation. Normally none.",
            {"{{operation}}": rate("parley_store_errors_total", "operation")},
            unit="reqps",
        ),
    ),
)
OVERVIEW = (UP, FAST, WAITS, FULL, LOST)

SERVICES = (
    Row(
        "What runs",
        (
            Panel(
                "Replicas and their weights",
                "Two weights: a promotion runs, or did not come to its end.",
                {"": f"parley_service_info{SERVICE}"},
                kind="table",
                width=24,
                instant=True,
            ),
        ),
        height=7,
    ),
    Row(
        "Calls",
        (
            Panel(
                "Calls by status",
                "INTERNAL is a defect; RESOURCE_EXHAUSTED a limit; CANCELLED a caller that left.",
                {"{{service}} {{method}} {{code}}": rate("parley_requests_total", "service, method, code", SERVICE)},
                unit="reqps",
            ),
            Panel(
                "Duration of a call (p95)",
                "A stream lasts as long as its question or its answer.",
                {"{{service}} {{method}}": quantile(0.95, "parley_request_seconds", "service, method", SERVICE)},
                unit="s",
            ),
            Panel(
                "Calls open",
                "Streams count for their whole life.",
                {
                    "{{service}} {{method}}": f"sum by (service, method) (parley_requests_in_flight{SERVICE})",
                },
            ),
        ),
    ),
    Row(
        "Engines",
        (
            Panel(
                "Slots in use and there",
                "Requests that hold a slot, and how many may.",
                {
                    "{{service}} used": f"sum by (service) (parley_engine_slots_used{SERVICE})",
                    "{{service}} there": f"sum by (service) (parley_engine_slots{SERVICE})",
                },
            ),
            Panel(
                "Size of a batch (p50)",
                "Sequences or tiles in one step. It grows with the load.",
                {"{{service}}": quantile(0.5, "parley_batch_size", "service", SERVICE)},
            ),
            Panel(
                "Duration of a step (p95)",
                "Every stream of the replica waits this long for its next token, chunk or tile.",
                {"{{service}}": quantile(0.95, "parley_step_seconds", "service", SERVICE)},
                unit="s",
            ),
            Panel(
                "Wait for the engine (p50, p95)",
                "From the arrival of work to the step that takes it.",
                {
                    "{{service}} p50": quantile(0.5, "parley_queue_seconds", "service", SERVICE),
                    "{{service}} p95": quantile(0.95, "parley_queue_seconds", "service", SERVICE),
                },
                unit="s",
            ),
            Panel(
                "Compute for a second of audio (p50, p95)",
                "Real-time factor.",
                {
                    "{{service}} p50": quantile(0.5, "parley_real_time_factor", "service", SERVICE),
                    "{{service}} p95": quantile(0.95, "parley_real_time_factor", "service", SERVICE),
                },
                red_from=1,
            ),
            Panel(
                "Lateness of the event loop (p99)",
                "By process. Above 0.25 s it is blocked, or has too little CPU.",
                {
                    "{{service}} {{instance}}": quantile(
                        0.99, "parley_event_loop_lag_seconds", "service, instance", SERVICE
                    )
                },
                unit="s",
                red_from=0.25,
            ),
        ),
    ),
    Row(
        "Work done",
        (
            Panel(
                "Tokens of the LLM core",
                "prompt: of questions and history; cached: of these, found in the KV cache; answer: generated.",
                {"{{kind}}": rate("parley_tokens_total", "kind")},
                unit="short",
            ),
            Panel(
                "Audio a second",
                "Seconds of audio, heard (in) and made (out): how many people talk or listen at once.",
                {"{{service}} {{direction}}": rate("parley_audio_seconds_total", "service, direction", SERVICE)},
            ),
            Panel(
                "Pictures and states",
                "Tiles and frames encoded a second; turns a second by what they were found to be.",
                {
                    "tiles": "sum(rate(parley_pictures_total[$__rate_interval]))",
                    "{{state}}": rate("parley_states_total", "state"),
                },
                unit="reqps",
            ),
        ),
    ),
)


def dashboard(uid: str, title: str, description: str, rows: Iterable[Row], variables: list[dict]) -> dict:
    """A dashboard as Grafana's provisioning takes it."""
    panels: list[dict] = []
    y = 0
    for row in rows:
        panels.append(_row(row.title, len(panels) + 1, y))
        y += 1
        x = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + row.height
            place = {"h": row.height, "w": panel.width, "x": x, "y": y}
            panels.append(_panel(panel, len(panels) + 1, place))
            x += panel.width
        y += row.height
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["parley"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "15s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{"title": "Parley", "type": "dashboards", "tags": ["parley"], "keepTime": True, "asDropdown": False}],
        "templating": {"list": [_datasource_variable(), *variables]},
        "panels": panels,
    }


def _row(title: str, number: int, y: int) -> dict:
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, place: dict) -> dict:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **_thresholds(panel)}, "overrides": []},
        "options": OPTIONS[panel.kind],
        "targets": [
            _target(letter, legend, expression, panel)
            for letter, (legend, expression) in zip("ABCDEF", panel.targets.items(), strict=False)
        ],
        **({"transformations": TABLE} if panel.kind == "table" else {}),
    }


def _target(letter: str, legend: str, expression: str, panel: Panel) -> dict:
    kind = (
        {"instant": True, "format": "table"} if panel.instant else {"range": True, "exemplar": "_bucket" in expression}
    )
    return {"refId": letter, "datasource": DATASOURCE, "expr": expression, "legendFormat": legend, **kind}


def _thresholds(panel: Panel) -> dict:
    if panel.red_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.red_below}]
    elif panel.red_from is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.red_from}]
    else:
        return {}
    custom = {"custom": {"thresholdsStyle": {"mode": "line"}}} if panel.kind == "timeseries" else {}
    return {"thresholds": {"mode": "absolute", "steps": steps}, **custom}


OPTIONS = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"},
    "table": {"showHeader": True},
}
TABLE = [{"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True, "__name__": True, "job": True}}}]


def _datasource_variable() -> dict:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}


SERVICE_VARIABLE = {
    "name": "service",
    "label": "Service",
    "type": "query",
    "datasource": DATASOURCE,
    "query": {"query": "label_values(parley_service_info, service)", "refId": "services"},
    "includeAll": True,
    "allValue": ".*",  # the gateway too
    "multi": True,
    "current": {"text": ["All"], "value": ["$__all"]},
    "refresh": 2,
}


def dashboards() -> dict[str, dict]:
    """By file name."""
    return {
        "parley-overview.json": dashboard(
            "parley-overview", "Parley: overview", "Is it up, is it fast, who waits, what is full.", OVERVIEW, []
        ),
        "parley-services.json": dashboard(
            "parley-services", "Parley: services", "What each service runs and does.", SERVICES, [SERVICE_VARIABLE]
        ),
    }


def text(content: dict) -> str:
    return json.dumps(content, indent=2) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, content in dashboards().items():
        (FOLDER / name).write_text(text(content))


if __name__ == "__main__":
    main()
