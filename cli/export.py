"""`parley export`: a checkpoint's networks for other engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.errors import CommandError

app = typer.Typer(
    help="Write a checkpoint's networks for other engines.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def export() -> None:
    """Write a checkpoint's networks for other engines."""


@app.command(short_help="Write the model repository of a Triton server")
def triton(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of the checkpoint")],
    folder: Annotated[Path, typer.Argument(help="The model repository; made if it is not there")],
    only: Annotated[Literal["vision", "speech"] | None, typer.Option(help="One encoder and not both")] = None,
    runtime: Annotated[
        Literal["onnxruntime", "python"],
        typer.Option(help="Triton's backend; python: for a server that has no other, it runs onnxruntime itself"),
    ] = "onnxruntime",
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Number format of the weights")] = "float32",
    max_batch: Annotated[int, typer.Option(min=1, help="Tiles, or utterances, that are computed at once")] = 32,
    max_sequences: Annotated[int, typer.Option(min=1, help="Utterances whose state is kept; more wait")] = 256,
    chunk_size: Annotated[
        int | None, typer.Option(min=1, help="Encoder frames (40 ms) of a chunk [default: the model's]")
    ] = None,
    left_chunks: Annotated[
        int | None, typer.Option(min=-1, help="Earlier chunks that a chunk attends to; -1: all [default: the model's]")
    ] = None,
    max_seconds: Annotated[
        float, typer.Option(min=1, help="Seconds of an utterance; counts where all earlier chunks are attended to")
    ] = 60.0,
) -> None:
    """Write vision encoder and speech encoder as ONNX with their config.pbtxt.

    The models are named by the weights, so a repository may hold several checkpoints' models at once. The services
    use them with PARLEY_VISION_ENCODER_BACKEND=triton and PARLEY_SPEECH_ENCODER_BACKEND=triton.
    """
    try:
        from parley.export.configuration import Batching
        from parley.export.repository import write_speech, write_vision
    except ModuleNotFoundError as error:
        raise CommandError(f"this needs the package {error.name}: install Parley's extra `triton`") from None
    from parley.checkpoints import Checkpoint
    from parley.export.signature import SpeechChunks

    source = Checkpoint.open(checkpoint)
    batching = Batching(max_batch, max_sequences=max_sequences)
    if only != "speech":
        typer.echo(write_vision(source, folder, runtime, dtype, batching))
    if only != "vision":
        chunks = SpeechChunks.chosen(source.config.speech, chunk_size, left_chunks, max_seconds)
        typer.echo(write_speech(source, folder, chunks, runtime, dtype, batching))


@app.command(short_help="Write the graphs that services on a CPU run in ONNX Runtime")
def graphs(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of the checkpoint")],
    folder: Annotated[
        Path | None, typer.Argument(help="Where the services read them [default: where those of `nano` are]")
    ] = None,
) -> None:
    """Write the ONNX graphs of a checkpoint's networks, without weights: they fit every checkpoint of these sizes.

    Services on a CPU use them by themselves, from another folder with PARLEY_GRAPHS=FOLDER.
    """
    try:
        from parley.export.graph_writer import write_graph
    except ModuleNotFoundError as error:
        raise CommandError(f"this needs the package {error.name}: install Parley's extra `triton`") from None
    from parley.checkpoints import Checkpoint
    from parley.export.graph import GRAPHS, all_graphs

    for graph in all_graphs(Checkpoint.open(checkpoint)):
        typer.echo(write_graph(graph, folder or GRAPHS))
