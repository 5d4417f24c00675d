"""The page in Chromium before a gateway that follows a script: what it sends, shows, and does when things go wrong."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from playwright.async_api import Page
from scripted_gateway import WORDS, ScriptedGateway, serving
from steps import ask_in_writing, hear, now, played, start_talking, until, until_true

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
SAFE_KEY = "ek_0123456789abcdef_secret"


@pytest.fixture
async def scripted(open_page):
    """`gateway, page = await scripted(…)`: settings of the gateway, then options of `open_page`."""
    running = []

    async def start(key: str = "", seconds: float = 1.5, hash: str = "", **options) -> tuple[ScriptedGateway, Page]:
        gateway = ScriptedGateway(key, seconds)
        running.append(serving(gateway))
        return gateway, await open_page(await running[-1].__aenter__() + hash, **options)

    yield start
    for each in running:
        await each.__aexit__(None, None, None)


async def test_a_typed_question_needs_no_microphone_and_is_answered_aloud(scripted):
    gateway, page = await scripted()
    await ask_in_writing(page, "what is there?")
    await page.wait_for_selector(".assistant[data-status=done]")
    assert await page.inner_text(".user .text") == "what is there?"
    await until_true(page, f"document.querySelector('.assistant .spoken').textContent === {WORDS!r}")
    await hear(page, 1)
    kinds = [event["type"] for event in gateway.received]
    assert kinds == ["session.update", "conversation.item.create", "response.create"]
    assert gateway.received[1]["item"]["content"] == [{"type": "input_text", "text": "what is there?"}]
    assert "to the first sound" in await page.inner_text(".assistant .total")


async def test_what_was_heard_and_decided_is_shown_and_read_out(scripted, silence):
    gateway, page = await scripted(microphone=silence)
    await start_talking(page)
    await gateway.ask(gateway.sockets[0], "what colour is it")
    await gateway.answer(gateway.sockets[0])
    await gateway.ask(gateway.sockets[0], "um well", state="nothing")
    await page.wait_for_selector("text=nothing to answer (98 %)")
    assert "taken as a spoken question (98 %)" in await page.inner_text(".user .about")
    read = await page.locator("#announcer").text_content()
    assert read.startswith("You: what colour is itParley: There is a red circle at the top left.Beside it is")
    await page.click(".assistant summary")
    stages = await page.inner_text(".assistant dl")
    assert "Speech decoder" in stages and "Player" in stages


async def test_talking_empties_the_player_and_says_how_much_was_heard(scripted, silence):
    gateway, page = await scripted(seconds=6.0, microphone=silence)
    await start_talking(page)
    await gateway.answer(gateway.sockets[0])
    await page.wait_for_selector("body[data-activity=speaking]")
    await asyncio.sleep(1)
    await gateway.ask(gateway.sockets[0], "stop")
    await until(lambda: gateway.sent("conversation.item.truncate"))
    truncated = gateway.sent("conversation.item.truncate")[0]
    assert 0 < truncated["audio_end_ms"] < 6000
    await page.wait_for_selector(".assistant .cut:not([hidden])")
    await asyncio.sleep(0.2)
    after = await now(page)
    await asyncio.sleep(0.4)
    assert (await played(page, since=after))["seconds"] == 0


async def test_the_player_stands_still_while_speech_may_interrupt_and_goes_on_where_it_was(scripted, silence):
    gateway, page = await scripted(seconds=3.0, microphone=silence)
    await start_talking(page)
    await gateway.answer(gateway.sockets[0])
    await page.wait_for_selector("body[data-activity=speaking]")
    await gateway.say(gateway.sockets[0], "parley.playback", item_id="item_a", action="pause")
    await asyncio.sleep(0.3)
    paused = await now(page)
    await asyncio.sleep(0.4)
    assert (await played(page, since=paused))["seconds"] == 0
    assert await page.query_selector("body[data-activity=speaking]")
    await gateway.say(gateway.sockets[0], "parley.playback", item_id="item_a", action="resume")
    await page.wait_for_selector("body[data-activity=listening]")
    assert (await played(page, since=paused))["seconds"] > 1
    assert not gateway.sent("conversation.item.truncate")


async def test_escape_cancels_the_answer(scripted):
    gateway, page = await scripted(seconds=6.0)
    await ask_in_writing(page, "tell me")
    await page.wait_for_selector("body[data-activity=speaking]")
    await page.keyboard.press("Escape")
    await until(lambda: gateway.sent("conversation.item.truncate"))
    await page.wait_for_selector("body[data-activity=listening]")


async def test_push_to_talk_sends_what_is_said_while_space_is_held(scripted, write_wav, spoken_question):
    gateway, page = await scripted(microphone=write_wav([spoken_question] * 6))
    await start_talking(page)
    await page.click("#mode")  # the space bar is not this button's afterwards
    await until(lambda: gateway.sent("input_audio_buffer.clear"))
    assert gateway.received[-2]["session"]["audio"]["input"]["turn_detection"] is None
    gateway.received.clear()
    await asyncio.sleep(0.5)
    assert gateway.received == []
    await page.keyboard.down(" ")
    await asyncio.sleep(0.8)
    await page.keyboard.up(" ")
    await until(lambda: gateway.sent("response.create"))
    kinds = [event["type"] for event in gateway.received]
    assert kinds.count("input_audio_buffer.append") >= 10
    assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]


async def test_a_button_that_is_held_too_briefly_asks_nothing(scripted, silence):
    gateway, page = await scripted(microphone=silence)
    await start_talking(page)
    await page.click("#mode")
    await page.click("#talk", delay=50)
    await page.wait_for_selector("text=Hold the button while you speak")
    assert not gateway.sent("input_audio_buffer.commit")


async def test_a_lost_connection_is_resumed_from_the_last_event(scripted, silence):
    gateway, page = await scripted(microphone=silence)
    await start_talking(page)
    await gateway.ask(gateway.sockets[0], "what colour is it")
    last = gateway.number() - 1
    await gateway.sockets[0].close(1012)
    await until(lambda: len(gateway.sockets) == 2)
    await page.wait_for_selector("text=Connected again")
    assert gateway.queries[1]["parley_session_id"].startswith("sess_")
    assert gateway.queries[1]["parley_last_event_id"] == f"event_{last}"
    assert len(gateway.sent("session.update")) == 1
    await gateway.answer(gateway.sockets[1])
    await page.wait_for_selector(".assistant[data-status=done]")


def sounds(gateway) -> list[bytes]:
    return [base64.b64decode(event["audio"]) for event in gateway.sent("input_audio_buffer.append")]


async def is_cut_off(gateway, page) -> None:
    """The connection, in the middle of a question."""
    await start_talking(page)
    await until(lambda: len(sounds(gateway)) > 20)
    item = {"item_id": "item_q", "audio_start_ms": 0}
    await gateway.say(gateway.sockets[0], "input_audio_buffer.speech_started", **item)
    await page.wait_for_selector("body[data-activity=hearing]")
    await gateway.sockets[0].close(1012)


async def test_a_question_that_was_cut_off_is_sent_again(scripted, write_wav, spoken_question):
    gateway, page = await scripted(microphone=write_wav([spoken_question] * 6))
    await is_cut_off(gateway, page)
    before = sounds(gateway)
    await until(lambda: len(gateway.sockets) == 2)
    await page.wait_for_selector("text=Connected again")
    await until(lambda: len(sounds(gateway)) > 2 * len(before))
    after = sounds(gateway)[len(before) :]
    assert after[0] in before and after[0] != before[-1]
    again = before[before.index(after[0]) :]  # of it the server has all, in order, and then what was said meanwhile
    assert after[: len(again)] == again and after[len(again)] not in before
    assert await page.locator(".utterance").count() == 0 and await page.locator(".problem").count() == 0


async def test_a_question_that_was_cut_off_with_its_session_is_given_up(scripted, silence):
    gateway, page = await scripted(microphone=silence)
    gateway.forgets_sessions = True
    await is_cut_off(gateway, page)
    await page.wait_for_selector(".problem >> text=say it again")
    await page.wait_for_selector("body[data-activity=listening]")
    assert await page.locator(".utterance").count() == 0


@pytest.mark.parametrize(("code", "sockets"), [(4404, 2), (4409, 1)])
async def test_a_session_that_is_gone_is_not_asked_for_again(scripted, code, sockets):
    gateway, page = await scripted()
    await ask_in_writing(page, "hello")
    await page.wait_for_selector(".assistant[data-status=done]")
    await gateway.sockets[0].close(code, "gone")
    await asyncio.sleep(1)
    assert len(gateway.sockets) == sockets and "parley_last_event_id" not in gateway.queries[-1]


async def test_a_new_session_is_told_what_was_said_in_the_lost_one(scripted):
    gateway, page = await scripted()
    await ask_in_writing(page, "what is there?")
    await page.wait_for_selector(".assistant[data-status=done]")
    gateway.forgets_sessions = True
    gateway.received.clear()
    await gateway.sockets[0].close(1011)
    await page.wait_for_selector("text=A new session began")
    await until(lambda: len(gateway.received) == 3)
    contents = [event["item"]["content"][0] for event in gateway.sent("conversation.item.create")]
    assert contents == [{"type": "input_text", "text": "what is there?"}, {"type": "output_text", "text": WORDS}]


async def test_a_session_that_was_ended_on_purpose_stays_ended(scripted):
    gateway, page = await scripted()
    await ask_in_writing(page, "hello")
    await page.wait_for_selector(".assistant[data-status=done]")
    await gateway.sockets[0].close(1008, "the key was revoked")
    await page.wait_for_selector("text=the key was revoked")
    assert await page.get_attribute("body", "data-connection") == "closed"
    await asyncio.sleep(0.5)
    assert len(gateway.sockets) == 1


async def test_what_fails_is_said(scripted, silence):
    gateway, page = await scripted(microphone=silence)
    await start_talking(page)
    await gateway.fail(gateway.sockets[0], "a service is gone")
    await page.wait_for_selector(".problem >> text=a service is gone")
    error = {"type": "invalid_request_error", "message": "no such voice", "code": "invalid_value"}
    await gateway.say(gateway.sockets[0], "error", error=error)
    await page.wait_for_selector(".problem >> text=no such voice")


async def test_a_key_is_asked_for_checked_and_kept_for_this_tab_only(scripted):
    gateway, page = await scripted(key=SAFE_KEY)
    await ask_in_writing(page, "hello")
    await page.wait_for_selector("text=Incorrect API key provided")
    await page.fill("#key", "two words")
    await page.click("text=Use the key")
    await page.wait_for_selector("text=A key has letters")
    await page.fill("#key", "wrong")
    await page.click("text=Use the key")
    await page.wait_for_selector("text=Incorrect API key provided")
    await page.fill("#key", f"  {SAFE_KEY} ")
    await page.click("text=Use the key")
    await page.wait_for_selector("body[data-connection=open]")
    assert await page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    assert SAFE_KEY not in page.url and SAFE_KEY not in str(gateway.queries)


async def test_a_key_in_the_link_is_used_and_taken_out_of_the_address_bar(scripted):
    _, page = await scripted(key=SAFE_KEY, hash=f"#key={SAFE_KEY}")
    assert "#" not in page.url
    await ask_in_writing(page, "hello")
    await page.wait_for_selector("body[data-connection=open]")


async def test_pictures_are_chosen_pasted_dropped_and_taken_back(scripted, picture):
    gateway, page = await scripted()
    await ask_in_writing(page, "hello")
    await page.wait_for_selector("body[data-connection=open]")
    await page.set_input_files("#picture-file", {"name": "a.png", "mimeType": "image/png", "buffer": picture})
    await page.wait_for_selector("figure.picture:not([hidden])")
    put = """([bytes, type]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(bytes)], "b.png", {type: "image/png"}));
        const event = type === "paste" ? new ClipboardEvent(type, {clipboardData: data, bubbles: true})
            : new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true});
        document.body.dispatchEvent(event);
    }"""
    await page.evaluate(put, [list(picture), "paste"])
    await page.evaluate(put, [list(picture), "drop"])
    await until(lambda: len(gateway.sent("conversation.item.create")) == 4)
    for event in gateway.sent("conversation.item.create")[1:]:
        (part,) = event["item"]["content"]
        assert part["type"] == "input_image" and part["image_url"].startswith("data:image/jpeg;base64,")
    await page.click("figure.picture:not([hidden]) .take-back >> nth=0")
    await until(lambda: gateway.sent("conversation.item.delete"))
    await until_true(page, "document.querySelectorAll('figure.picture:not([hidden])').length === 2")
    await page.set_input_files("#picture-file", {"name": "c.txt", "mimeType": "text/plain", "buffer": b"no"})
    await page.wait_for_selector("text=c.txt is not a picture that the browser can read")


async def test_frames_of_the_camera_are_few_and_old_ones_are_deleted(scripted, silence, write_y4m):
    camera = write_y4m([Image.new("RGB", (320, 240), (level, level, level)) for level in (0, 60, 120, 180, 240)])
    gateway, page = await scripted(microphone=silence, camera=camera)
    await start_talking(page)
    await page.click("#camera")
    await until_true(page, "document.getElementById('preview').videoWidth > 0")
    assert not gateway.sent("conversation.item.create")
    begin = "Object.defineProperty(performance, 'now', {value: (() => { const n = performance.now.bind(performance); "
    await page.evaluate(begin + "return () => 5 * n(); })()})")  # time for the page goes five times as fast
    item = {"item_id": "item_q", "audio_start_ms": 0}
    await gateway.say(gateway.sockets[0], "input_audio_buffer.speech_started", **item)
    await until(lambda: len(gateway.sent("conversation.item.delete")) >= 1)
    sent = [event["item"]["id"] for event in gateway.sent("conversation.item.create")]
    assert len(sent) == 4 + len(gateway.sent("conversation.item.delete"))
    assert gateway.sent("conversation.item.delete")[0]["item_id"] == sent[0]
    await page.click("#stop-sight")
    await page.wait_for_selector("#sight", state="hidden")


async def test_another_voice_begins_a_session_that_is_told_what_was_said(scripted):
    gateway, page = await scripted()
    await ask_in_writing(page, "what is there?")
    await page.wait_for_selector(".assistant[data-status=done]")
    await page.wait_for_selector("body[data-activity=listening]")  # it has been heard to its end
    await gateway.say(gateway.sockets[0], "parley.session", speakers=["anna", "ben"])
    gateway.received.clear()
    await page.click("#open-settings")
    await page.select_option("#voices", "ben")
    await until(lambda: len(gateway.received) == 3)
    assert gateway.queries[1]["parley_session_id"] == ""
    assert gateway.received[0]["session"]["audio"]["output"]["voice"] == "ben"
    texts = [event["item"]["content"][0]["text"] for event in gateway.sent("conversation.item.create")]
    assert texts == ["what is there?", WORDS]


async def test_the_screen_is_shown_in_place_of_the_camera(scripted):
    _, page = await scripted()
    await ask_in_writing(page, "hello")
    await page.click("#camera")
    await page.wait_for_selector("#sight[data-kind=camera]:not([hidden])")
    await page.click("#screen")
    await page.wait_for_selector("#sight[data-kind=screen]:not([hidden])")
    assert await page.get_attribute("#camera", "aria-pressed") == "false"
    await page.click("#screen")
    await page.wait_for_selector("#sight", state="hidden")


async def test_the_screen_stays_on_while_connected(scripted):
    gateway, page = await scripted()
    await page.evaluate("""() => { window.locks = 0; WakeLock.prototype.request = async () => {
        window.locks++;
        return { released: false, release: () => window.locks-- };
    }; }""")
    await ask_in_writing(page, "hello")
    await until_true(page, "window.locks === 1")
    await until(lambda: gateway.sockets)
    await gateway.sockets[0].close(1000, "enough")
    await until_true(page, "window.locks === 0")


async def test_muting_sends_silence(scripted, write_wav, spoken_question):
    gateway, page = await scripted(microphone=write_wav([spoken_question] * 8))
    await start_talking(page)
    await until(lambda: any(set(event["audio"]) != {"A"} for event in gateway.sent("input_audio_buffer.append")))
    await page.keyboard.press("m")
    await page.wait_for_selector("#mute[aria-pressed=true]")
    await asyncio.sleep(0.3)
    gateway.received.clear()
    await until(lambda: len(gateway.received) > 5)
    assert all(set(event["audio"]) == {"A"} for event in gateway.received)


async def test_an_utterance_is_played_again_and_the_talk_downloaded(scripted, silence):
    gateway, page = await scripted(microphone=silence)
    await start_talking(page)
    await gateway.ask(gateway.sockets[0], "what colour is it")
    await gateway.answer(gateway.sockets[0])
    await page.wait_for_selector("body[data-activity=listening]")
    before = await now(page)
    await page.click(".assistant .replay")
    await page.wait_for_selector(".replay.playing")
    await page.wait_for_selector(".replay.playing", state="detached")
    assert (await played(page, since=before))["seconds"] > 1
    await page.click("#download")
    async with page.expect_download() as download:
        await page.click("#download-sound")
    samples, rate = soundfile.read(io.BytesIO(Path(await (await download.value).path()).read_bytes()))
    assert rate == 24_000 and samples.shape[1] == 2 and np.abs(samples[:, 1]).max() > 0.05
    async with page.expect_download() as download:
        await page.click("#download-captions")
    captions = Path(await (await download.value).path()).read_text()
    assert "<v You>what colour is it" in captions and f"<v Parley>{WORDS}" in captions


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_text_can_be_read_in_both_themes_and_sizes(scripted, silence, scheme, size):
    gateway, page = await scripted(seconds=8.0, microphone=silence, color_scheme=scheme, **size)
    checked = [await page.evaluate(CONTRAST, 4.5)]
    await start_talking(page)
    await gateway.ask(gateway.sockets[0], "what colour is it")
    await gateway.answer(gateway.sockets[0])
    await gateway.fail(gateway.sockets[0], "a service is gone")
    await page.click(".assistant summary")
    await page.click("#camera")
    await page.wait_for_selector("#sight:not([hidden])")
    checked.append(await page.evaluate(CONTRAST, 4.5))
    for name in ("settings", "key-dialog", "download-dialog"):
        await page.evaluate(f"document.getElementById('{name}').showModal()")
        checked.append(await page.evaluate(CONTRAST, 4.5))
        await page.evaluate(f"document.getElementById('{name}').close()")
    assert sum(found["checked"] for found in checked) > 60
    assert [each for found in checked for each in found["below"]] == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_theme_follows_the_system_until_it_is_chosen(scripted):
    _, page = await scripted(color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = await page.evaluate(ground)
    await page.emulate_media(color_scheme="light")
    light = await page.evaluate(ground)
    assert light != dark
    await page.click("#theme")
    await page.reload()
    assert await page.evaluate(ground) == dark


async def test_every_control_has_a_name_and_can_be_reached_by_keys(scripted):
    _, page = await scripted()
    unnamed = """() => [...document.querySelectorAll('button, input, select, a')].filter((each) =>
        !(each.getAttribute('aria-label') || each.textContent.trim() || each.labels?.length || each.hidden))
        .map((each) => each.outerHTML)"""
    assert await page.evaluate(unnamed) == []
    await page.keyboard.press("t")
    assert await page.evaluate("document.activeElement.id") == "text"
    await page.keyboard.press("Escape")
    await page.focus("#theme")
    reached = set()
    for _ in range(12):
        await page.keyboard.press("Tab")
        reached.add(await page.evaluate("document.activeElement.id"))
    assert {"open-settings", "start", "text"} <= reached


async def test_nothing_is_asked_of_another_host(scripted, silence):
    gateway, page = await scripted(microphone=silence)
    hosts, requests = set(), []
    page.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    await page.reload()
    await start_talking(page)
    await gateway.answer(gateway.sockets[-1])
    hosts = {url.split("/")[2] for url in requests if not url.startswith(("data:", "blob:"))}
    assert len(requests) > 30 and hosts == {page.url.split("/")[2]}
