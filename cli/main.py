"""`parley`, the command line. A command's module is imported when that command is called, so `--help` is instant.

A command is `app` in `cli/<module>.py`: a `typer.Typer` of one command (or of several, like `data`). It raises
`ValueError` or `CommandError` for a mistake that its user can correct; the message is printed as one line. The same
happens to an `OSError` that names a file: no space, no permission, no such folder.
"""

from __future__ import annotations

import importlib
import sys

import typer
from typer.core import TyperGroup

from cli.errors import CommandError

# Name → module, one line of help.
COMMANDS = {
    "up": ("cli.up", "Start the services and the gateway on this machine; stop them on Ctrl-C"),
    "down": ("cli.down", "Stop what `up` started in this folder"),
    "status": ("cli.status", "Show what runs, its addresses, health and memory"),
    "keys": ("cli.keys", "Create, list and revoke the API keys of a gateway"),
    "promote": ("cli.promote", "Change what runs to another checkpoint, without a lost turn; or go back"),
    "ask": ("cli.ask", "Ask by voice or in writing, about a picture or a video, and hear the answer"),
    "demo": ("cli.demo", "Start, ask the bundled question about the bundled picture, stop"),
    "train": ("cli.train", "Train a model by the recipe: all stages or one"),
    "plan": ("cli.plan", "Say what training a model needs: memory, disk, days; refuse what cannot fit"),
    "launch": ("cli.launch", "Train on a Kubernetes cluster, a Job a stage"),
    "jobs": ("cli.jobs", "List, watch, read or cancel training runs on a cluster"),
    "eval": ("cli.eval", "Measure a checkpoint on held-out data"),
    "init": ("cli.init_checkpoint", "Start a model from Qwen2.5 and InternViT folders"),
    "import": ("cli.import_checkpoint", "Import the published VITA-1.5 weights (research only)"),
    "export": ("cli.export", "Write a checkpoint's encoders for a Triton server"),
    "data": ("cli.data", "Convert, speak and check data for training"),
}


# Commands of which a part is imported when they are called, and the extra that brings what it needs.
EXTRAS = {name: "train" for name in ("train", "plan", "eval", "data")} | {"launch": "kubernetes", "jobs": "kubernetes"}


class LazyGroup(TyperGroup):
    def list_commands(self, ctx) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx, name: str):
        if name not in COMMANDS:
            return None
        command = typer.main.get_command(importlib.import_module(COMMANDS[name][0]).app)
        command.name = name
        return command

    def format_commands(self, ctx, formatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


app = typer.Typer(cls=LazyGroup, rich_markup_mode=None, no_args_is_help=True, add_completion=False)


@app.callback(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def parley() -> None:
    """See, hear and answer aloud: train a VITA-1.5-like model, run it, talk to it.

    New here? Run `parley demo`; or `parley up` in one terminal and `parley ask --text "hello"` in another.
    `parley COMMAND --help` explains a command and its options.
    """


def main() -> None:
    try:
        app()
    except (ValueError, CommandError) as error:
        print(f"parley: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 2))
    except ModuleNotFoundError as error:
        command = sys.argv[1] if len(sys.argv) > 1 else ""
        if command not in EXTRAS:
            raise
        extra = EXTRAS[command]
        print(f"parley: {command} needs {error.name}: install Parley's extra `{extra}`, `python install.py {extra}`",
              file=sys.stderr)  # fmt: skip
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"parley: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
