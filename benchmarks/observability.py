"""Looks at a running stack as an operator does: a real Prometheus with our rules, and a collector of traces.

    python -m benchmarks.observability --turns 30

Starts the local stack and Prometheus (`prometheus` must be on the PATH: Debian's package has it), asks spoken questions
about pictures, and says what every rule and every panel of the dashboards returned, whether exemplars arrived, and what
a trace holds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import yaml

from benchmarks.collector import Collector
from benchmarks.measuring import machine, percentile, table
from benchmarks.workload import questions
from cli.client import Answer, Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.local import ports
from services.local.stack import LocalStack
from services.telemetry import dashboards
from training.data.sample import SAMPLE_RATE

RULES = dashboards.FOLDER.parent / "rules"
VARIABLES = {"$__rate_interval": "1m", "$service": ".*"}  # of Grafana, and their values here
SETTLE_SECONDS = 20  # of scrapes and evaluations after the last question


class Prometheus:
    """A Prometheus server of its own, which scrapes each second."""

    def __init__(self, folder: Path, targets: list[str]):
        self.address = f"127.0.0.1:{ports.free(1)[0]}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in RULES.glob("*.yaml")],
            "scrape_configs": [{"job_name": "parley", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        command += [f"--web.listen-address={self.address}", "--enable-feature=exemplar-storage"]
        self.process = subprocess.Popen(command, stderr=(folder / "prometheus.log").open("w"))
        while not self._ready():
            if self.process.poll() is not None:
                raise RuntimeError((folder / "prometheus.log").read_text())
            time.sleep(0.2)

    def _ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=2).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def ask(self, path: str, **parameters: object) -> object:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def traced_stack(checkpoint: Path, folder: Path, collector: Collector) -> Iterator[LocalStack]:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "500"
    with LocalStack(checkpoint, folder, 0, 0) as stack:
        yield stack


async def ask(address: str, turns: int) -> list[Answer]:
    """One conversation after another, a spoken question about a picture each."""
    config = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, sampling=Sampling(max_tokens=32))
    answers = []
    for question in islice(questions(0), turns):
        async with Client(address) as client:
            await client.open(config)
            sent = Question(audio=question.audio, images=[question.picture], sample_rate=SAMPLE_RATE)
            answers.append(await client.ask(sent))
    return answers


def panels(prometheus: Prometheus) -> list[dict[str, object]]:
    """A row for each expression of the dashboards: how many series it returned."""
    rows = []
    for name, board in dashboards.dashboards().items():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                found = prometheus.ask("query", query=expression)["result"]
                rows.append({"dashboard": name, "panel": panel["title"], "series": len(found)})
    return rows


def rules(prometheus: Prometheus) -> list[dict[str, object]]:
    groups = prometheus.ask("rules")["groups"]
    return [
        {
            "rule": rule["name"],
            "health": rule["health"],
            "state": rule.get("state", ""),
            "error": rule.get("lastError", ""),
        }
        for group in groups
        for rule in group["rules"]
    ]


def exemplars(prometheus: Prometheus) -> dict[str, int]:
    """Metric → exemplars that Prometheus holds."""
    now = time.time()
    found = prometheus.ask("query_exemplars", query='{__name__=~"parley_.+_bucket"}', start=now - 3600, end=now)
    counts: Counter = Counter()
    for series in found:
        counts[series["seriesLabels"]["__name__"]] += len(series["exemplars"])
    return dict(counts)


def report(prometheus: Prometheus, collector: Collector, answers: list[Answer]) -> None:
    targets = prometheus.ask("targets")["activeTargets"]
    print(f"targets: {Counter(target['health'] for target in targets)}")
    print(table(rules(prometheus), ("rule", "health", "state", "error")))
    print(table(panels(prometheus), ("dashboard", "panel", "series")))
    print(f"exemplars: {exemplars(prometheus)}")
    first = [answer.latency.first_audio for answer in answers]
    print(f"turns: {len(answers)}, first audio p50 {percentile(first, 0.5):.3f} s, p95 {percentile(first, 0.95):.3f} s")
    spans = collector.trace_of(answers[-1].turn_id)
    print(f"spans of the last turn, by process: {dict(Counter(span.service for span in spans))}")
    names = {span.span_id: span.name for span in spans}
    began = min(span.began for span in spans)
    rows = [
        {
            "span": span.name,
            "part of": names.get(span.parent_id, ""),
            "process": span.service,
            "after ms": 1000 * (span.began - began),
            "ms": 1000 * span.seconds,
        }
        for span in sorted(spans, key=lambda span: span.began)
    ]
    print(table(rows, ("span", "part of", "process", "after ms", "ms")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--turns", type=int, default=30)
    arguments = parser.parse_args()
    if shutil.which("prometheus") is None:
        parser.error("`prometheus` is not on the PATH; Debian: apt-get install prometheus")
    collector = Collector()
    with tempfile.TemporaryDirectory() as name, traced_stack(arguments.checkpoint, Path(name), collector) as stack:
        prometheus = Prometheus(Path(name), [stack.state.http, *stack.state.metrics.values()])
        try:
            answers = asyncio.run(ask(stack.state.gateway, arguments.turns))
            time.sleep(SETTLE_SECONDS)
            report(prometheus, collector, answers)
        finally:
            prometheus.close()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
