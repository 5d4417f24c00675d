"""The page is served as it lies in the package, under a strict policy."""

import re
import tomllib
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from services.gateway.api.guards.security_headers import SecurityHeaders
from services.gateway.web import page

ROOT = Path(__file__).parents[4]
FILES = sorted(path for path in page.STATIC.rglob("*") if path.is_file())


@pytest.fixture
async def client():
    app = FastAPI()
    app.add_middleware(SecurityHeaders)
    app.include_router(page.router())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


async def test_the_page_is_at_the_root_and_its_parts_are_found(client):
    answer = await client.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    parts = re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text)
    assert len(parts) >= 6
    for part in parts:
        found = await client.get(part)
        assert found.status_code == 200 and found.headers["x-content-type-options"] == "nosniff", part


async def test_modules_are_javascript_and_import_what_is_there(client):
    for path in (path for path in FILES if path.suffix == ".js"):
        answer = await client.get(f"/static/{path.relative_to(page.STATIC)}")
        assert "javascript" in answer.headers["content-type"]
        for name in re.findall(r'^import .*? from "(.*?)";', answer.text, re.M):
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


async def test_the_policy_lets_nothing_in_from_elsewhere(client):
    for path in ("/", "/static/main.js"):
        policy = (await client.get(path)).headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy


def test_no_file_names_another_host_and_none_runs_inline():
    for path in FILES:
        text = path.read_text()
        hosts = set(re.findall(r"(?:https?|wss?)://([^/\s\"'`]+)", text)) - {"www.w3.org"}  # the name of SVG
        assert not hosts, f"{path.name}: {hosts}"
        assert path.suffix != ".html" or not re.search(r"\son\w+=|style=|<script>|<style", text)


async def test_a_new_version_shows_at_once_and_an_old_one_is_not_sent_again(client):
    first = await client.get("/static/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/static/main.js", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/static/absent.js", "/static/", "/static/../page.py", "/static/%2e%2e/page.py"])
async def test_what_is_not_the_page_is_not_found(client, path):
    assert (await client.get(path)).status_code == 404


def test_an_installation_has_every_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["services.gateway.web"]
    packaged = {path for pattern in patterns for path in page.STATIC.parent.glob(pattern)}
    assert set(FILES) <= packaged
