"""Hugging Face's Trainer and ours, on the same language model and tokens."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers

from benchmarks.train_step_setting import Built, Setting
from benchmarks.train_step_stages import on_device, trainer_of, with_layers
from parley.models.parley import Parley
from training.data.collate import DialogCollator, Rendered
from training.data.packing import IGNORED
from training.recipe import find_stage
from training.resources.sizes import measure
from training.resources.speed import language_operations


def peer(setting: Setting, folder: Path) -> Built:
    """Hugging Face's Trainer: the language model alone, text of as many tokens."""
    config = with_layers(setting.config, setting.layers)
    with on_device(setting):
        model = Parley(config, ("language",)).language
    model.config.use_cache = False
    rows = [{"input_ids": torch.ones(setting.tokens, dtype=torch.long), "labels": torch.ones(setting.tokens).long()}]
    on_gpu, marks = setting.device.type == "cuda", []

    class Marks(transformers.TrainerCallback):
        def on_step_end(self, *_, **__):
            if on_gpu:
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    steps = setting.warm_up + setting.steps
    options = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=1, max_steps=steps, bf16=on_gpu, use_cpu=not on_gpu,
        gradient_checkpointing=True, optim="adamw_torch_fused", report_to=[], save_strategy="no",
        logging_strategy="no", dataloader_pin_memory=on_gpu, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model.float(), options, train_dataset=rows * steps, callbacks=[Marks()])
    trainer.train()
    size = language_operations(config, measure(config), setting.tokens, trained=True)
    seconds = np.diff(marks)[-setting.steps :].tolist()
    return Built(lambda: None, setting.tokens, setting.tokens * size, seconds=seconds)


def against_peer(setting: Setting, folder: Path) -> Built:
    """Our trainer on what the peer has: text alone, as many layers, no vision encoder."""
    config = with_layers(setting.config, setting.layers)
    stage = replace(find_stage("1.2"), trains=("language",))
    made = trainer_of(stage, setting, config, folder)
    ids, labels = [1] * setting.tokens, [1] * (setting.tokens - 1) + [IGNORED]
    batch = DialogCollator(config, None).batch([Rendered(ids, labels, [], [], [])])
    size = language_operations(config, measure(config), setting.tokens, trained=True)
    return Built(lambda: made.train_step([batch]), setting.tokens, setting.tokens * size)
