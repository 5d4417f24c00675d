from parley.checkpoints import load_model
from parley.text.clauses import split
from services.speech_decoder.alignment import Alignment

WORDS = [" i", " am", " par", "ley", "."]


def test_text_grows_by_whole_words(tiny_checkpoint):
    model = load_model(tiny_checkpoint, ("speech_decoder",))
    alignment = Alignment(split(range(27, 32), WORDS)[0], model.speech_decoder)
    texts = [alignment.text_at(frame) for frame in range(40)]
    assert texts[0] == "" and set(texts) == {"", " i", " i am"}
