"""A written graph has no weights in it, and computes with those of any module of its sizes."""

import torch

from parley.export.graph import codec_graph
from parley.export.graph_writer import write_graph
from parley.models.codec import build_codec_decoder
from services.engine.onnx_network import OnnxNetwork


@torch.inference_mode()
def test_one_graph_for_two_sets_of_weights(tiny_config, tmp_path):
    first, second = (codec_graph(build_codec_decoder(tiny_config.codec).eval()) for _ in range(2))
    path = write_graph(first, tmp_path / "graphs")
    assert path == second.path(tmp_path / "graphs")
    largest = max(first.weights.values(), key=torch.numel)
    assert largest.numpy().tobytes() not in path.read_bytes()
    codes, speaker = torch.randint(64, (3, 9)), first.example(3)[1]
    outputs = [OnnxNetwork(graph, tmp_path / "graphs", 1)(codes, speaker) for graph in (first, second)]
    assert not torch.allclose(*outputs)
    torch.testing.assert_close(outputs[1], second.network(codes, speaker), rtol=1e-4, atol=1e-4)
