"""The real engines: each speaks, faster when asked to, and says what it has not."""

import numpy as np
import pytest

from training.data.world.speech import engines, speak, styles
from training.data.world.speech.engines import NATURAL, engine
from training.data.world.voices import Voice

TEXT = "a red circle."
NAMES = {"hibari": "heart", "flite": "awb", "piper": "joe", "kokoro": "bm_lewis"}
INSTALLED = [name for name in NATURAL if not engines.missing(name)]


def test_all_but_kokoro_come_with_the_extra_and_with_debian():
    assert {*INSTALLED} >= {"hibari", "piper", "flite"}
    assert engines.missing("kokoro") in ("", styles.missing())


@pytest.mark.parametrize("name", INSTALLED)
def test_it_speaks(name):
    says = engine(name)
    slow, fast = (says.speak(TEXT, NAMES[name], speed) for speed in (0.7, 1.4))
    assert slow.dtype == np.float32 and slow.ndim == 1 and np.isfinite(slow).all()
    assert len(fast) / says.sample_rate > 0.4 and 1.3 * len(fast) < len(slow) < 3 * says.sample_rate
    assert any(letter.isdigit() for letter in says.version)
    with pytest.raises(ValueError, match=f"nobody.*it has: .*{NAMES[name]}"):
        says.speak(TEXT, f"{NAMES[name][0]}_nobody", 1.0)


@pytest.mark.skipif("kokoro" not in INSTALLED, reason="needs Kokoro's style files: parley data voices --styles npm")
def test_a_blend_is_another_voice():
    one, both = (engine("kokoro").speak("yes.", name, 1.0) for name in ("am_adam", "am_adam+am_eric"))
    assert len(both) and not (len(both) == len(one) and np.allclose(both, one))


def test_an_engine_that_is_not_there(monkeypatch):
    with pytest.raises(ValueError, match="no speech engine 'festival'; there are: espeak, hibari, kokoro"):
        speak(TEXT, Voice("kal", 160, engine="festival"))
    monkeypatch.setattr(engines, "missing", lambda name: f"install {name}")
    with pytest.raises(ValueError, match="the speech engine hibari is not installed: install hibari"):
        engine.__wrapped__("hibari")
