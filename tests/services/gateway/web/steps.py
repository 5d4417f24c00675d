"""What the tests of the page do in it again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from playwright.async_api import Page


async def start_talking(page: Page) -> None:
    await page.click("#start")
    await page.wait_for_selector("body[data-connection=open]")


async def ask_in_writing(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def until_true(page: Page, expression: str, seconds: float = 60) -> None:
    """The page's policy forbids the `eval` that Playwright's `wait_for_function` needs."""
    async with asyncio.timeout(seconds):
        while not await page.evaluate(expression):
            await asyncio.sleep(0.05)


async def now(page: Page) -> float:
    """Milliseconds on the page's clock."""
    return await page.evaluate("performance.now()")


async def played(page: Page, since: float = 0) -> dict[str, float]:
    """What the loudspeaker got since then: seconds, and the loudest RMS."""
    return await page.evaluate(f"played({since})")


async def hear(page: Page, seconds: float, since: float = 0) -> None:
    """Until that much has been heard."""
    await until_true(page, f"played({since}).seconds > {seconds}")
