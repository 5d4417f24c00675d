"""Speech by an HTTP endpoint of OpenAI's form, `/audio/speech`: OpenAI's, our own gateway's, and many others'."""

from __future__ import annotations

import httpx
import numpy as np

from parley.media.audio import read_audio
from training.data.sample import SAMPLE_RATE
from training.data.speak.engine import LONGEST_SPEECH, SpeechError, heard, one_line

ROUTE = "/audio/speech"
LARGEST = 64 << 20  # bytes of an answer
BUSY = {408, 409, 425, 429}  # and 5xx: another attempt may help
NEVER = {401, 403, 404, 405}  # no text will be spoken
SHOWN = 300  # characters of an error


class HttpEngine:
    """Asks `url` (for example `http://127.0.0.1:8080/v1`) for a WAV a text. Raises `ValueError` for a wrong address."""

    def __init__(self, url: str, model: str, key: str = "", timeout: float = 120.0):
        self.url, self.model = address(url), model
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout, headers=headers)

    def describe(self) -> dict[str, str]:
        return {"engine": "http", "url": str(self.url.copy_with(query=None)), "model": self.model}

    def speak(self, text: str, voice: str, speed: float) -> np.ndarray:
        body = {"model": self.model, "input": one_line(text), "voice": voice, "speed": speed, "response_format": "wav"}
        try:
            with self._client.stream("POST", self.url, json=body) as response:
                content = read_bounded(response)
        except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: the client has been closed
            raise SpeechError(f"{self.url}: {type(error).__name__}: {error}"[:SHOWN]) from None
        if response.status_code != 200:
            self._refused(response, content)
        try:
            return heard(read_audio(content, SAMPLE_RATE, max_seconds=LONGEST_SPEECH))
        except ValueError as error:
            raise SpeechError(f"{self.url}: {error}") from None

    def close(self) -> None:
        self._client.close()

    def _refused(self, response: httpx.Response, content: bytes) -> None:
        said = one_line(content[:SHOWN].decode(errors="replace"))
        message = f"{self.url} answered with {response.status_code}: {said}"
        if response.status_code in NEVER:
            raise ValueError(message)
        again = response.status_code in BUSY or response.status_code >= 500
        raise SpeechError(message, again, retry_after(response))


def address(url: str) -> httpx.URL:
    """The address of the route. Raises `ValueError` for what is no HTTP address, or holds a password."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no address: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no HTTP address; one is http://127.0.0.1:8080/v1")
    if parsed.userinfo:
        raise ValueError("an address must not hold a password: name the variable that holds the key by --key-variable")
    path = parsed.path.rstrip("/")
    return parsed if path.endswith(ROUTE) else parsed.copy_with(path=path + ROUTE)


def read_bounded(response: httpx.Response) -> bytes:
    """The body of an answer. Raises `SpeechError` if it is too large."""
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > LARGEST:
            raise SpeechError(f"the answer is larger than {LARGEST >> 20} MiB")
    return bytes(content)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None
