"""The files of pictures are kept beside their embeddings, and encoded again by other weights."""

from types import SimpleNamespace

import grpc
import pytest

from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.tensor_pb2 import Tensor
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionResponse
from services.gateway.events.items import Ref
from services.gateway.media import originals as module
from services.gateway.media.images import EncodedImage
from services.gateway.media.originals import Originals
from services.rpc.errors import ServiceError

OLD = Ref(weights="old", hash="picture", length=3)
TENSOR = Tensor(dtype="float32", shape=[2, 1], data=bytes(8))


class Embeddings:
    def __init__(self):
        self.kept = {}

    async def put(self, ref, data):
        self.kept[ref.weights, ref.hash] = (ref, data)
        return True

    async def find(self, weights, content_hash):
        return self.kept.get((weights, content_hash), (None,))[0]

    async def get(self, refs):
        return {ref: self.kept[ref.weights, ref.hash][1] for ref in refs if (ref.weights, ref.hash) in self.kept}


class Calls:
    """A vision encoder with the weights "new"."""

    def __init__(self, error=None):
        self.requests, self.error = [], error

    async def describe(self, service):
        return ModelInfo(weights="new")

    async def encode_images(self, request, timeout):
        self.requests.append(request)
        if self.error:
            raise self.error
        return EncodeVisionResponse(embeddings=TENSOR, weights="new")


@pytest.fixture
def embeddings():
    return Embeddings()


@pytest.fixture
def originals(embeddings):
    def write(ref, data):
        embeddings.kept[ref.weights, ref.hash] = (ref, data.SerializeToString())

    return Originals(embeddings, SimpleNamespace(write=write))


@pytest.mark.parametrize(("kind", "files"), [("image", [b"file"]), ("video", [b"film"]), ("frames", [b"one", b"two"])])
async def test_what_was_kept_is_encoded_once_by_other_weights(originals, embeddings, kind, files):
    originals.keep(EncodedImage(OLD, kind, files, 0.1))
    calls = Calls()
    for _ in range(2):
        assert await originals.renew(OLD, "s", calls) == Ref(weights="new", hash="picture", length=2)
    (request,) = calls.requests
    assert (request.session_id, request.WhichOneof("input")) == ("s", kind)
    assert (list(request.frames.images) if kind == "frames" else [getattr(request, kind)]) == files
    assert Tensor.FromString(embeddings.kept["new", "picture"][1]) == TENSOR


async def test_what_is_not_kept_or_cannot_be_encoded_is_none(originals, monkeypatch):
    assert await originals.renew(OLD, "s", Calls()) is None
    monkeypatch.setattr(module, "MAX_BYTES", 3)
    originals.keep(EncodedImage(OLD, "image", [b"file"], 0.1))
    assert await originals.renew(OLD, "s", Calls()) is None
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    originals.keep(EncodedImage(OLD, "image", [b"file"], 0.1))
    assert await originals.renew(OLD, "s", Calls(ServiceError(grpc.StatusCode.UNAVAILABLE, "away"))) is None
