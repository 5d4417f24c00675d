"""Tokens of a stack in containers."""

import pytest

from services.ray.tokens import FILES, write_tokens


def read(folder):
    return {name: (folder / name).read_text() for name in FILES}


def test_tokens_are_made_once_and_only_their_owner_can_read_them(tmp_path, monkeypatch):
    for variable in FILES.values():
        monkeypatch.delenv(variable, raising=False)
    write_tokens(tmp_path)
    first = read(tmp_path)
    assert len(set(first.values())) == len(FILES) and min(map(len, first.values())) >= 32
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in FILES} == {0o600}
    write_tokens(tmp_path)
    assert read(tmp_path) == first


def test_a_token_of_the_environment_takes_the_place_of_a_kept_one(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("PARLEY_SERVICE_TOKEN", raising=False)
    write_tokens(tmp_path)
    kept = read(tmp_path)["ray_token"]
    monkeypatch.setenv("PARLEY_SERVICE_TOKEN", "of-its-owner")
    write_tokens(tmp_path)
    assert read(tmp_path) == {"ray_token": kept, "service_token": "of-its-owner"}
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)


@pytest.mark.parametrize("token", ["two words", "línea", "line\n"])
def test_a_token_that_no_request_can_carry_is_refused(tmp_path, monkeypatch, token):
    monkeypatch.setenv("PARLEY_SERVICE_TOKEN", token)
    with pytest.raises(ValueError, match="PARLEY_SERVICE_TOKEN must be of printable ASCII"):
        write_tokens(tmp_path)
