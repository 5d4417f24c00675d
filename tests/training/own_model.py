"""What a user brings to a training, tiny: a Qwen2 and an InternViT as published, and data in many formats."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from parley.config import ParleyConfig, preset
from parley.media.audio import write_wav
from tests.parley.checkpoints.importers.test_qwen_internvit import TEMPLATE, save_vision

SECONDS = 0.6  # of an utterance
THINGS = ("bus", "cat", "tree", "house", "boat")


def tiny_sizes() -> ParleyConfig:
    """Every kind of block of vita-7b at a few channels. The language model and the vision encoder have their own."""
    full = preset("vita-7b")
    speech = {"conv_channels": 4, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 48}
    decoder = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "nar_layers": 1, "ar_layers": 1}
    codec = {
        "num_codes": 16, "upsample_rates": (5, 5, 24), "upsample_kernel_sizes": (7, 7, 48),
        "upsample_initial_channel": 32, "resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1, 3),),
        "num_speaker_tokens": 2, "speaker_codes": 8, "global_feature_conv": (128, 16, 16, 3, 1),
    }  # fmt: skip
    return full.model_copy(
        update={
            "name": "tiny",
            "speech": full.speech.model_copy(update=speech | {"chunk_size": 4, "left_chunks": 4}),
            "speech_decoder": full.speech_decoder.model_copy(update=decoder | {"num_codes": 16}),
            "codec": full.codec.model_copy(update=codec),
        }
    )


def write_models(llm: Path, vision: Path, tokenizer: Tokenizer) -> None:
    """A Qwen2 as small ones are published: tied, in bf16, more embeddings than tokens; its width is no power of two."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=336, hidden_size=56, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.3,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).bfloat16().save_pretrained(llm)
    tokenizer.save(str(llm / "tokenizer.json"))
    (llm / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    save_vision(vision, "original")


def write_data(folder: Path) -> None:
    """About a hundred records, in the files that the mix.yaml of docs/training.md names."""
    random = np.random.default_rng(0)
    write_photographs(folder / "photos", random)
    captions = [
        {"id": str(i), "image": f"photos/{i % 30}.jpg", "conversations": said("<image>\nWhat is it?", f"A {thing(i)}.")}
        for i in range(50)
    ]
    (folder / "captions.json").write_text(json.dumps(captions))
    write_questions(folder)
    write_spoken(folder / "spoken", random)
    write_read(folder, random)
    write_kaldi(folder / "kaldi", random)
    write_studio(folder, random)


def thing(i: int) -> str:
    return THINGS[i % len(THINGS)]


def said(question: str, answer: str) -> list[dict]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def write_photographs(folder: Path, random: np.random.Generator) -> None:
    """JPEGs of many sizes; the first is turned by its EXIF, the second has no colours."""
    folder.mkdir()
    for i in range(30):
        width, height = (int(side) for side in random.integers(30, 240, 2))
        small = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        image = small.resize((width, height), Image.Resampling.BICUBIC).convert("L" if i == 1 else "RGB")
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 0 else 1
        image.save(folder / f"{i}.jpg", exif=exif)


def write_questions(folder: Path) -> None:
    """OpenAI's messages with files and a data URL, dialogues of text, and Parquet with the bytes of pictures."""
    photo = (folder / "photos" / "3.jpg").read_bytes()
    inside = "data:image/jpeg;base64," + base64.b64encode(photo).decode()
    shown = [{"type": "image_url", "image_url": {"url": f"photos/{i}.jpg" if i else inside}} for i in range(8)]
    asked = [[{"type": "text", "text": "Which?"}, part] for part in shown]
    lines(folder / "questions.jsonl", [dialogue(question, f"The {thing(i)}.") for i, question in enumerate(asked)])
    lines(folder / "text.jsonl", [dialogue(f"Is {i} more than 2?", "Yes." if i > 2 else "No.") for i in range(6)])
    (folder / "parquet").mkdir()
    rows = [
        {"image": {"bytes": photo, "path": f"{i}.jpg"}, "conversations": said("<image>\nWhere?", f"By house {i}.")}
        for i in range(6)
    ]
    for number in (0, 1):
        part = pa.Table.from_pylist(rows[3 * number : 3 * number + 3])
        pq.write_table(part, folder / "parquet" / f"train-{number:05}-of-00002.parquet")


def dialogue(question: str | list[dict], answer: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write_spoken(folder: Path, random: np.random.Generator) -> None:
    """Spoken questions about pictures, sounds that must not be answered, and questions that are cut short."""
    folder.mkdir()
    for i in range(6):
        write_wav(folder / f"{i}.wav", voice(random, 16_000), 16_000)
    spoken = [
        {"id": f"s{i}", "image": f"../photos/{i}.jpg", "audio": f"{i}.wav"}
        | {"conversations": said("<image>\n<audio>", f"A {thing(i)}."), "transcripts": ["A boat?"]}
        for i in range(6)
    ]
    lines(folder / "records.jsonl", spoken)
    unanswered = [
        {"id": f"n{i}", "audio": f"{i}.wav", "conversations": said("<audio>", ""), "inserted_id": 1} for i in range(4)
    ]
    lines(folder / "negatives.jsonl", unanswered)
    cut = [
        {"id": f"c{i}", "audio": f"{i}.wav", "conversations": said("<audio>", ""), "inserted_id": 1} for i in range(4)
    ]
    lines(folder / "cut.jsonl", cut)


def write_read(folder: Path, random: np.random.Generator) -> None:
    """Utterances that are parts of one recording."""
    write_wav(folder / "long.wav", np.concatenate([voice(random, 16_000) for _ in range(8)]), 16_000)
    part = {"audio": "long.wav", "duration": SECONDS}
    spans = [{"start": i * SECONDS, "text": f"a {thing(i)}", "speaker": f"s{i}"} for i in range(8)]
    lines(folder / "read.jsonl", [part | span for span in spans])


def write_kaldi(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    names = [f"anna-{i}" for i in range(4)]
    for name in names:
        write_wav(folder / f"{name}.wav", voice(random, 16_000), 16_000)
    tables = {
        "text": [f"the {thing(i)}" for i in range(4)], "wav.scp": [f"{name}.wav" for name in names],
        "utt2spk": ["anna"] * 4,
    }  # fmt: skip
    for file, values in tables.items():
        (folder / file).write_text("".join(f"{name} {value}\n" for name, value in zip(names, values, strict=True)))


def write_studio(folder: Path, random: np.random.Generator) -> None:
    """Speech of 24 kHz of two speakers."""
    for i in range(12):
        write_wav(folder / f"studio-{i}.wav", voice(random, 24_000), 24_000)
    spoken = [{"audio": f"studio-{i}.wav", "text": f"A {thing(i)}.", "speaker": f"s{i % 2}"} for i in range(12)]
    lines(folder / "studio.jsonl", spoken)


def voice(random: np.random.Generator, rate: int) -> np.ndarray:
    """Harmonics of a pitch that glides, and noise: float32 [samples]."""
    time = np.arange(round(SECONDS * rate)) / rate
    phase = 2 * np.pi * np.cumsum(random.uniform(90, 250) + 40 * np.sin(9 * time)) / rate
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.1 * harmonics + 0.005 * random.standard_normal(len(time))).astype(np.float32)


def photograph() -> bytes:
    """A picture that the model has not seen, as JPEG."""
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").resize((120, 90)).save(file, "JPEG")
    return file.getvalue()


def lines(file: Path, records: list[dict]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def question() -> bytes:
    """A spoken question as a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, voice(np.random.default_rng(1), 16_000), 16_000, format="WAV")
    return file.getvalue()
