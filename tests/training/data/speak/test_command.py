"""Speech by a command: no text can become more than one argument, an option or a program's code."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from parley.media.audio import write_wav
from training.data.sample import SAMPLE_RATE
from training.data.speak.command import CommandEngine, kill_group
from training.data.speak.engine import SpeechError
from training.data.speak.retry import Retries

NASTY = [
    "--version",
    "-o /etc/passwd",
    "@file",
    "a; touch broken",
    "$(touch broken) `touch broken`",
    "\"quoted\" 'text' \\",
    "{out} {voice} {text}",
    "first\nsecond\x00third",
]


@pytest.fixture
def tts(tmp_path):
    """A program that writes its arguments to a file and copies a sound to the place of its last one."""
    write_wav(tmp_path / "tone.wav", np.sin(np.arange(4800) / 5), 24_000)
    program = tmp_path / "tts"
    program.write_text(
        f'#!/bin/sh\nfor word; do printf "<%s>" "$word"; out="$word"; done > "{tmp_path}/arguments"\n'
        f'cp "{tmp_path}/tone.wav" "$out"\n'
    )
    program.chmod(0o755)
    return program


def arguments(tts) -> list[str]:
    return (tts.parent / "arguments").read_text().strip("<>").split("><")


@pytest.mark.parametrize("text", NASTY)
def test_a_text_is_one_argument_and_no_option(tts, text):
    engine = CommandEngine(f"{tts} --voice {{voice}} --speed {{speed}} {{text}} {{out}}")
    audio = engine.speak(text, "anna b", 1.25)
    assert len(audio) == round(4800 * SAMPLE_RATE / 24_000) and audio.dtype == np.float32
    *options, given, out = arguments(tts)
    assert options == ["--voice", "anna b", "--speed", "1.25"] and out.endswith("speech.wav")
    assert given.strip() == " ".join(text.replace("\x00", " ").split())
    assert given[0] not in "-@$"
    assert not (tts.parent / "broken").exists()


def test_a_text_in_a_file(tts):
    engine = CommandEngine(f"cp {tts.parent}/tone.wav {{out}} --suffix={{text_file}}")
    assert len(engine.speak("--help\nme", "any", 1)) > 0


def test_a_text_behind_an_option(tts):
    CommandEngine(f"{tts} --text={{text}} {{out}}").speak("--help me", "any", 1)
    assert arguments(tts)[0] == "--text=--help me"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tts {text}", "needs {out}"),
        ("tts {out}", "one of {text} and {text_file}"),
        ("sh -c 'tts {text} {out}'", "must be an argument of its own"),
        ("bash -c {text} {out}", "bash might run what a text says"),
        ("ssh host tts {text} {out}", "give it {text_file}"),
        ("tts 'unclosed", "cannot be split"),
        ("{text} {out}", "must begin with a program's name"),
    ],
)
def test_commands_that_cannot_be(command, message):
    with pytest.raises(ValueError, match=message):
        CommandEngine(command)


def test_a_program_that_is_not_there():
    with pytest.raises(ValueError, match="cannot be run: no-such-program"):
        CommandEngine("no-such-program {text} {out}").speak("hello", "any", 1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('out of memory')", "status 1: out of memory"),
        ("pass", "wrote no file"),
        ("import sys; open(sys.argv[2], 'w').write('text')", "not a sound file"),
    ],
)
def test_a_program_that_fails(tmp_path, code, message):
    script = tmp_path / "tts.py"
    script.write_text(code)
    engine = CommandEngine(f"{sys.executable} -S {script} {{text}} {{out}}")
    with pytest.raises(SpeechError, match=message) as failure:
        engine.speak("hello", "any", 1)
    assert failure.value.again


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path):
    script = tmp_path / "tts"
    script.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nsleep 60\n")
    script.chmod(0o755)
    with pytest.raises(SpeechError, match=r"not done after 0\.5 s"):
        CommandEngine(f"{script} {{text}} {{out}}", timeout=0.5).speak("hello", "any", 1)
    child = int((tmp_path / "child").read_text())
    while runs(child):  # until the test's timeout
        time.sleep(0.01)


def runs(process: int) -> bool:
    """Whether it has not ended; one that nobody has asked for yet is a zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_program_may_end_while_it_is_being_ended(monkeypatch):
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    monkeypatch.setattr(process, "poll", lambda: None)  # as it says while another thread waits for the process
    kill_group(process)


def test_attempts_are_bounded(tmp_path):
    script = tmp_path / "tts"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/calls\nexit 3\n")
    script.chmod(0o755)
    engine = CommandEngine(f"{script} {{text}} {{out}}")
    with pytest.raises(SpeechError, match="status 3: it wrote nothing"):
        Retries(attempts=3, pause=0.01)(lambda: engine.speak("hello", "any", 1))
    assert (tmp_path / "calls").read_text() == "x\n" * 3
