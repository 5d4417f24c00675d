"""`parley data`: the user's own data, from files to records that a stage can learn from. One file a command.

A command is a function in `cli/data/<name>.py`, named here; what it needs is imported when it is called, so that
`--help` is instant.
"""

from __future__ import annotations

import typer

from cli.data.check import check
from cli.data.convert import LAYOUT_LIST, convert
from cli.data.speak import speak
from cli.data.voices import voices
from cli.data.world import world

app = typer.Typer(
    help="Convert, speak and check data for training; write examples of nano's world, and make its voices ready.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
app.command(short_help="Count good and bad records, and say what is wrong")(check)
app.command(short_help="Convert a public data set to records", epilog=LAYOUT_LIST)(convert)
app.command(short_help="Speak written questions with any text-to-speech, and make sounds not to answer")(speak)
app.command(short_help="Say which natural voices nano can learn from, and make their speech")(voices)
app.command(short_help="Write examples of nano's world as records")(world)
