"""The roofline benchmark: what a device allows, and what of the times of tokens counts."""

import pytest
import torch

from benchmarks.roofline import Setting
from benchmarks.roofline_limits import Limits
from benchmarks.roofline_llm import decode_limit, decoded
from parley.config import preset

LIMITS = Limits(bytes_per_second=100.0, flops=4000.0)


@pytest.fixture
def setting() -> Setting:
    return Setting(preset("nano"), torch.device("cpu"), torch.float32, (1, 2), LIMITS)


def test_a_step_is_bounded_by_its_weights_or_by_its_products():
    assert LIMITS.steps_per_second(weight_bytes=50, parameters=10, rows=1) == 2  # 0.5 s of reading
    assert LIMITS.steps_per_second(weight_bytes=50, parameters=10, rows=400) == 0.5  # 2 s of products


def test_only_the_time_in_which_all_decode_counts(setting):
    times = [[0.0, 1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5]]
    row = decoded(setting, "some engine", 2, times)
    assert (row.count, row.p50_ms) == (3, 1000)  # from 1.5 to 3.5: 2 and 3; 1.5, 2.5 and 3.5
    assert row.rate == pytest.approx(3 / 2)
    assert row.share == pytest.approx(row.rate / decode_limit(setting, 2))


def test_a_table_of_embeddings_that_is_no_output_head_is_not_read_whole(setting):
    language = setting.config.language
    tied = decode_limit(setting, 1)
    untied = setting.config.model_copy(update={"language": language.model_copy(update={"tie_word_embeddings": False})})
    assert decode_limit(Setting(untied, *list(vars(setting).values())[1:]), 1) == pytest.approx(tied)
