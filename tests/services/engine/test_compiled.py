"""Compiled networks compute what torch does, and are refused where they do not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, load_model
from parley.export.graph import GRAPHS, Graph, all_graphs, step_graph
from parley.models.speech_decoder import SpeechDecoder
from services.engine.compiled import compiled
from services.engine.onnx_network import OnnxNetwork
from services.engine.settings import CompiledSettings

NANO = Path(__file__).parents[3] / "checkpoints" / "nano"


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    return all_graphs(Checkpoint.open(NANO))


def settings(**fields) -> CompiledSettings:
    return CompiledSettings(**{"device": "cpu", "dtype": "float32", "threads": 1} | fields)


def test_every_network_of_nano_comes_with_its_graph(graphs):
    assert sorted(graph.path(GRAPHS) for graph in graphs) == sorted(GRAPHS.iterdir())
    assert all(isinstance(compiled(graph, settings()), OnnxNetwork) for graph in graphs)


@pytest.mark.parametrize("batch", [1, 2, 5])
@torch.inference_mode()
def test_a_batch_of_any_size(graphs, batch):
    for graph in graphs:
        inputs = graph.example(batch)
        wanted, found = graph.network(*inputs), OnnxNetwork(graph, GRAPHS, 1)(*inputs)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_graph_of_other_operations_is_refused(graphs):
    model = load_model(NANO, ["speech_decoder"])
    other = model.config.speech_decoder.model_copy(update={"rope_theta": 100.0})
    decoder = SpeechDecoder(other, model.config.language.hidden_size, model.config.language.vocab_size).eval()
    decoder.load_state_dict(model.speech_decoder.state_dict())
    wrong = replace(step_graph(decoder), facts=step_graph(model.speech_decoder).facts)
    with pytest.raises(ValueError, match=r"differs from the network by .* in logits; write it anew"):
        compiled(wrong, settings(runtime="onnxruntime"))
    assert compiled(wrong, settings()) is None


def test_sizes_without_a_graph_run_in_torch_unless_they_must_not(graphs, tmp_path):
    for graph in graphs:
        assert compiled(graph, settings(graphs=tmp_path)) is None
        assert compiled(graph, settings(runtime="torch")) is None
        with pytest.raises(ValueError, match="`parley export graphs` writes it"):
            compiled(graph, settings(graphs=tmp_path, runtime="onnxruntime"))


@pytest.mark.parametrize("fields", [{"dtype": "bfloat16"}, {"device": "cuda:0"}])
def test_other_devices_and_formats_run_in_torch(graphs, fields):
    assert compiled(graphs[0], settings(**fields)) is None
    with pytest.raises(ValueError, match=r"ONNX Runtime computes in float32 on a CPU, not in"):
        compiled(graphs[0], settings(runtime="onnxruntime", **fields))
