"""`parley data convert`: what a user sees."""

from typer.testing import CliRunner

from cli.data import app
from tests.training.data.converters.corpora import picture, sound, table, text, turns
from training.data.converters.registry import LAYOUTS


def run(*arguments) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    return result.exit_code, result.output, result.exception


def test_counts_the_mix_and_the_next_step_are_shown(tmp_path):
    chapter = tmp_path / "LibriTTS/train-clean-100/103/1241"
    sound(chapter / "103_1241_000000_000001.wav", 0.25, 24_000)
    sound(chapter / "103_1241_000000_000002.wav", 0.25, 24_000)
    text(chapter / "103_1241_000000_000001.normalized.txt", "Yes.")
    code, shown, _ = run("libritts", tmp_path / "LibriTTS", "--out", tmp_path / "out")
    assert code == 0, shown
    assert "train-clean-100 (speech, train): 1 records, 0.00 hours, 1 speakers, 24 kHz, 1 bad" in shown
    assert "1 × no transcript" in shown and "kind: speech" in shown
    assert f"parley data check {tmp_path / 'out/mix.yaml'}" in shown
    assert "0%" in shown  # the progress bar


def test_files_that_need_no_conversion_are_named_as_such(tmp_path):
    image = {"bytes": picture(tmp_path / "a.png").read_bytes(), "path": "a.png"}
    row = {"id": "1", "image": image, "conversations": turns("<image>", "red."), "data_source": "x"}
    table(tmp_path / "ReCap/data/train-00000-of-00001.parquet", [row])
    code, shown, _ = run("llava-onevision", tmp_path / "ReCap", "--out", tmp_path / "out")
    assert code == 0 and "ReCap (captions, train): 1 records, 1 images, 0 bad" in shown
    assert "These files need no conversion" in shown and f"path: {tmp_path / 'ReCap'}" in shown


def test_an_unknown_layout_lists_the_known_ones(tmp_path):
    _, _, error = run("kinetics", tmp_path, "--out", tmp_path / "out")
    assert isinstance(error, ValueError) and "no layout 'kinetics'" in str(error)
    assert all(name in str(error) for name in LAYOUTS)


def test_help_lists_the_layouts():
    code, shown, _ = run("--help")
    assert code == 0 and all(f"\n    {name} " in shown for name in LAYOUTS)
