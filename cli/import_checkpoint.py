"""`parley import`: the published VITA-1.5 weights as a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("import")
def import_checkpoint(
    folder: Annotated[Path, typer.Argument(help="The released folder, as downloaded")],
    out: Annotated[Path, typer.Option(help="Where to write the checkpoint")],
    check: Annotated[
        bool, typer.Option("--check", help="Reproduce the folder's expected.safetensors; exit 1 where that fails")
    ] = False,
) -> None:
    """Import weights in the published VITA-1.5 layout. They are for research only."""
    from parley.checkpoints import CheckpointError
    from parley.checkpoints.importers.vita15 import LICENCE, import_published

    expected = folder / "expected.safetensors"
    if check and not expected.is_file():
        raise CheckpointError(f"--check needs {expected}, which is not there")
    manifest = import_published(folder, out)
    typer.echo(f"{out}: {', '.join(manifest.parts)}")
    typer.echo(f"licence: {LICENCE}")
    if manifest.tokenizer is None:
        typer.echo(f"there is no tokenizer in {folder}: the checkpoint reads and writes ids, not words")
    if check:
        _print_check(out, expected)


def _print_check(out: Path, expected: Path) -> None:
    from parley.checkpoints.importers.vita15_check import check

    rows = check(out, expected)
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        typer.echo(f"{row.name:{width}}  {row.error:9.2e}  {'ok' if row.ok else f'WRONG {row.note}'.strip()}")
    wrong = [row.name for row in rows if not row.ok]
    if wrong or not rows:
        raise CommandError(f"{len(wrong)} of {len(rows)} tensors are not reproduced: {', '.join(wrong)}", exit_code=1)
    typer.echo(f"all {len(rows)} tensors are reproduced")
