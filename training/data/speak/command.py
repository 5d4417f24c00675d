"""Speech by any command line program, run without a shell.

Notable points:
- The command is split once, before any text is in it, so a text stays one argument whatever it holds.
- A text must not be taken for an option either: one that does not begin with a letter or digit gets a space in front.
- A program that hands its argument to a shell would run what a text says, so shells take the text as a file only.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np

from parley.media.audio import read_audio
from training.data.sample import SAMPLE_RATE
from training.data.speak.engine import LONGEST_SPEECH, SpeechError, heard, one_line

PLACEHOLDER = re.compile(r"\{(text|text_file|voice|speed|out)\}")
WHOLE_TEXT = re.compile(r"(--?[\w-]+=)?\{text\}")
SHELLS = {
    *("sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh", "busybox", "cmd", "powershell", "pwsh", "su", "ssh"),
    *("cmd.exe", "powershell.exe", "pwsh.exe", "eval", "xargs", "parallel", "watch", "script"),
}
SHOWN = 300  # characters of what a failed program wrote last


class CommandEngine:
    """Runs a command a text: `{text}` or `{text_file}`, `{voice}`, `{speed}` and `{out}` (a WAV) are replaced.

    Raises `ValueError` for a command that cannot be one.
    """

    def __init__(self, command: str, timeout: float = 120.0):
        self.command, self.timeout = command, timeout
        self.arguments = split(command)
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._closed = False

    def describe(self) -> dict[str, str]:
        return {"engine": "command", "command": self.command}

    def speak(self, text: str, voice: str, speed: float) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="parley-speak-") as name:
            folder = Path(name)
            text_file, out = folder / "text.txt", folder / "speech.wav"
            text_file.write_text(one_line(text) + "\n", encoding="utf-8")
            values = {"voice": voice, "speed": f"{speed:g}", "text_file": str(text_file), "out": str(out)}
            self._run(filled(self.arguments, values | {"text": one_line(text)}), folder / "output.txt")
            return self._read(out)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._running:
                kill_group(process)

    def _run(self, arguments: list[str], output: Path) -> None:
        with output.open("wb") as written:
            process = self._start(arguments, written)
        try:
            status = process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise SpeechError(f"{arguments[0]} was not done after {self.timeout:g} s") from None
        finally:
            kill_group(process)
            process.wait()
            with self._lock:
                self._running.discard(process)
        if status:
            raise SpeechError(f"{arguments[0]} ended with status {status}: {last_words(output)}")

    def _start(self, arguments: list[str], output) -> subprocess.Popen:
        """The program in a process group of its own, so that all of it can be ended."""
        with self._lock:
            if self._closed:
                raise SpeechError("stopped", again=False)
            try:
                process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise ValueError(f"the command cannot be run: {arguments[0]}: {error.strerror}") from None
            self._running.add(process)
            return process

    def _read(self, out: Path) -> np.ndarray:
        if not out.exists():
            raise SpeechError(f"{self.arguments[0]} wrote no file {{out}}")
        try:
            return heard(read_audio(out, SAMPLE_RATE, max_seconds=LONGEST_SPEECH))
        except ValueError as error:
            raise SpeechError(str(error)) from None


def split(command: str) -> list[str]:
    """The command's arguments, placeholders still in them. Raises `ValueError` for one that cannot be run safely."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"the command {command!r} cannot be split into arguments: {error}") from None
    names = [name for argument in arguments for name in PLACEHOLDER.findall(argument)]
    if "out" not in names or not {"text", "text_file"} & set(names):
        raise ValueError(f"the command {command!r} needs {{out}} and one of {{text}} and {{text_file}}")
    if PLACEHOLDER.search(arguments[0]):
        raise ValueError(f"the command {command!r} must begin with a program's name")
    if "text" in names:
        check_text_is_safe(arguments)
    return arguments


def check_text_is_safe(arguments: list[str]) -> None:
    """Raises `ValueError` where `{text}` is a part of an argument, or an argument of a shell."""
    for argument in arguments:
        if "{text}" in argument and not WHOLE_TEXT.fullmatch(argument):
            raise ValueError(
                f"{{text}} must be an argument of its own or follow --name=, not stand inside {argument!r}; or use "
                "{text_file}"
            )
    if shells := [argument for argument in arguments if Path(argument).name in SHELLS]:
        raise ValueError(f"{shells[0]} might run what a text says: give it {{text_file}} instead of {{text}}")


def filled(arguments: list[str], values: dict[str, str]) -> list[str]:
    """The arguments with values for placeholders. What looks like a placeholder in a value stays as it is."""
    return [
        guarded(argument, values["text"])
        if WHOLE_TEXT.fullmatch(argument)
        else PLACEHOLDER.sub(lambda match: values[match.group(1)], argument)
        for argument in arguments
    ]


def guarded(argument: str, text: str) -> str:
    """`{text}` or `--name={text}` with the text in it, which no program can take for an option or a file of options."""
    if argument == "{text}" and not text[:1].isalnum():
        text = f" {text}"
    return argument.removesuffix("{text}") + text


def kill_group(process: subprocess.Popen) -> None:
    """Ends a program that runs, and what it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it ends now: another thread waits for it, so `poll` cannot know
            os.killpg(process.pid, signal.SIGKILL)


def last_words(output: Path) -> str:
    """The end of what a program wrote, on one line."""
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - SHOWN))
        return one_line(file.read().decode(errors="replace")) or "it wrote nothing"
