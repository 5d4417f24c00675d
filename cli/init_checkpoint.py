"""`parley init`: a checkpoint to train from, made of what others trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("init")
def init_checkpoint(
    model: Annotated[
        str, typer.Argument(help="Sizes of the parts that start fresh: a preset of parley/config.py, or a JSON file")
    ],
    llm: Annotated[Path, typer.Option(help="Folder of a Qwen2 or Qwen2.5, as downloaded from Hugging Face")],
    vision: Annotated[Path, typer.Option(help="Folder of an InternViT, in its first layout or transformers' own")],
    out: Annotated[Path, typer.Option(help="Where to write the checkpoint")],
    seed: Annotated[int, typer.Option(help="Of the fresh weights")] = 0,
) -> None:
    """Start a model from Qwen2.5 and InternViT folders; all other parts are fresh."""
    from parley.checkpoints.importers.qwen_internvit import init_pretrained

    manifest = init_pretrained(model, llm, vision, out, seed)
    sizes = manifest.config
    typer.echo(f"{out}: {', '.join(manifest.parts)}")
    typer.echo(
        f"language: {sizes.language.num_layers} layers, {sizes.language.hidden_size} wide, from {llm}; "
        f"vision: {sizes.vision.num_layers} layers, {sizes.vision.hidden_size} wide, from {vision}; the rest is fresh"
    )
