"""What the services' tests share: a cluster's Serve, and a checkpoint of a small model that calls functions.

The Serve, for tests of what asks its REST API, is a server that keeps what Serve's own schema accepts.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from parley.checkpoints import save_stage
from parley.config import ChatFormat, LanguageConfig, ParleyConfig
from parley.models.parley import Parley
from parley.text.prompt import common_prefix
from parley.text.tools import CALL, END_OF_CALL, system_pieces
from services.ray.cluster import Cluster

TOKEN = "of this cluster"


class Serve(BaseHTTPRequestHandler):
    """Answers as Serve 2.60 does. `server.states`: what comes of an application by name; else it runs."""

    def do_GET(self):
        if self.allowed():
            self.answer(200, json.dumps({"applications": self.server.applications}))

    def do_PUT(self):
        if not self.allowed():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            from ray.serve.schema import ServeDeploySchema

            config = ServeDeploySchema.model_validate(body)
        except ValueError as error:
            self.answer(400, str(error))
            return
        self.server.applications = {
            each.name: self.server.states.get(each.name, {"status": "RUNNING", "message": "", "deployments": {}})
            | {"deployed_app_config": each.model_dump(exclude_unset=True)}
            for each in config.applications
        }
        self.answer(200, "")

    def allowed(self) -> bool:
        if self.path == "/api/serve/applications/" and self.headers["Authorization"] == f"Bearer {TOKEN}":
            return True
        self.answer(401, "Unauthorized: Missing or invalid authentication token")
        return False

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def serve_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    server.applications, server.states = {}, {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(serve_server):
    return Cluster(f"http://127.0.0.1:{serve_server.server_port}", TOKEN)


# A small model that calls functions.

CITIES = ["Rome", "Oslo", "Paris", "Lima", "Cairo", "Tokyo", "Delhi", "Quito", "Sofia", "Accra"]
SKIES = ["sunny", "cloudy", "rainy"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of today.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def _user(content):
    return {"role": "user", "content": content}


def _answer(text: str, *cities: str) -> dict:
    calls = [{"name": "get_weather", "arguments": json.dumps({"city": city})} for city in cities]
    return {"role": "assistant", "content": text, "tool_calls": calls}


def _outputs(*texts: str) -> dict:
    return _user([{"type": "outputs", "outputs": list(texts)}])


def _dialogs() -> list[list[dict]]:
    """What the model learns by heart: ten calls, an answer with text and two calls, one without calls."""
    weather = []
    for number, city in enumerate(CITIES):
        sky = SKIES[number % len(SKIES)]
        question = _user(f"what is the weather in {city}?")
        weather.append([question, _answer("", city), _outputs(sky), _answer(f"it is {sky} in {city}.")])
    compared = _answer("let me look.", "Rome", "Oslo"), _outputs("sunny", "cloudy")
    compare = [_user("compare Rome and Oslo."), *compared, _answer("Rome is sunny, Oslo is cloudy.")]
    return [*weather, compare, [_user("hello"), _answer("hello, how are you?")]]


def _calling_tokenizer() -> Tokenizer:
    """As Qwen2.5's: the tags of calls are tokens that are not called special, those of outputs are none."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    chat = ChatFormat()
    trainer = trainers.BpeTrainer(
        vocab_size=638,
        special_tokens=["<|im_start|>", *chat.stop],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [json.dumps(_dialogs()), *["".join(system_pieces("", [WEATHER]))] * 4]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in (CALL, END_OF_CALL)])
    return tokenizer


def _learn_by_heart(model: Parley, most_steps: int = 400) -> None:
    """Trains the language model on all dialogs at once, until it is sure of every token.

    What they all begin with is computed once a step.
    """
    from transformers import DynamicCache

    language = model.language.train()
    rendered = [model.writer.render(dialog, tools=[WEATHER]) for dialog in _dialogs()]
    lists = [[i for s in segments for i in s.ids] for segments in rendered]
    shared = len(common_prefix(lists))
    pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    ids = pad([torch.tensor(each) for each in lists])
    written = pad([torch.tensor([s.answer for s in segments for _ in s.ids]) for segments in rendered])[:, shared + 1 :]
    targets = ids[:, shared + 1 :][written]
    optimizer = torch.optim.AdamW(language.parameters(), lr=0.006, betas=(0.9, 0.99), weight_decay=0.0)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10)
    for _ in range(most_steps):
        cache = DynamicCache()
        language.model(input_ids=ids[:1, :shared], past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(ids))
        output = language.model(input_ids=ids[:, shared:], past_key_values=cache, use_cache=True)
        logits = language.lm_head(output.last_hidden_state[:, :-1][written])
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        if losses.max() < 0.2:
            language.eval()
            return
        optimizer.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(language.parameters(), 1.0)
        optimizer.step()
        warm_up.step()
    raise AssertionError(f"the dialogs are not learned after {most_steps} steps: largest loss {losses.max():.3f}")


@pytest.fixture(scope="session")
def calling_checkpoint(tiny_config: ParleyConfig, tmp_path_factory) -> Path:
    """A checkpoint of all parts whose language model calls `get_weather`, and answers with what that returns.

    Made once, also where several workers want it.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path = folder / "calling"
    with (folder / "calling.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make_calling_checkpoint(path, tiny_config)
    return path


def _make_calling_checkpoint(path: Path, tiny_config: ParleyConfig) -> None:
    language = LanguageConfig(
        vocab_size=640, hidden_size=72, intermediate_size=144, num_layers=2, num_heads=4, num_kv_heads=2,
        max_position_embeddings=1024, rope_theta=10_000.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Parley(tiny_config.model_copy(update={"language": language}))
    model.tokenizer = _calling_tokenizer()
    with torch.no_grad():
        for weight in model.language.parameters():
            if weight.ndim == 2:  # with the usual small ones it would learn slowly
                weight.normal_(std=0.08)
        model.state_head.weight.zero_()
        model.state_head.bias.copy_(torch.tensor([0.0, 9.0, 0.0]))  # it takes everything for a written question
    _learn_by_heart(model)
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="calling", config=model.config, parts=parts, tokenizer=model.tokenizer)
