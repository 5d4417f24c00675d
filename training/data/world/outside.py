"""Questions and requests that are outside the world of `nano`: it says that it does not know, or cannot.

Notable points:
- The gaps of a template are filled with words of a table (a country, a food). Templates and words are held out by what
  they say: a held-out sentence has a template that training never has, or a word in a gap that it never has there.
- Requests for something to be done ("play some music.") are answered by `CANNOT`, questions by `UNKNOWN`.
"""

from __future__ import annotations

import random

from training.data.world.plans import Question
from training.data.world.splits import belongs, held_out
from training.data.world.vocabulary import ANIMALS, DAYS, DEVICES
from training.data.world.wordings import GAP

UNKNOWN = "i do not know that."
CANNOT = "i cannot do that."
NUMBERS = ("three", "four", "six", "seven", "eight", "nine", "eleven", "twelve", "fifteen", "twenty")
FILLINGS = {
    "country": (
        "france", "spain", "china", "japan", "india", "england", "mexico", "canada", "germany", "italy", "russia",
        "brazil",
    ),
    "city": ("london", "paris", "boston", "tokyo", "berlin", "chicago", "rome", "sydney"),
    "name": ("tom", "anna", "mary", "john", "peter", "susan", "david", "laura"),
    "famous": ("mozart", "einstein", "shakespeare", "picasso", "the president", "the king", "the queen"),
    "animal": ANIMALS,
    "food": ("pizza", "rice", "soup", "cake", "cheese", "apples", "bread", "coffee", "milk", "tea"),
    "instrument": ("piano", "guitar", "violin", "drums"),
    "sport": ("football", "tennis", "chess", "baseball"),
    "nature": ("ocean", "mountain", "river", "earth", "sky", "moon", "sun"),
    "device": DEVICES,
    "site": ("hotel", "restaurant", "school", "station", "office"),
    "when": ("tomorrow", "today", "tonight", "next week", *(f"on {day}" for day in DAYS)),
    "number": NUMBERS,
    "factor": NUMBERS,
    "minutes": ("two", "five", "ten", "fifteen", "twenty"),
}  # fmt: skip
QUESTIONS = (
    "what is the capital of {country}?", "who is the president of {country}?",
    "what language do they speak in {country}?",
    "how many people live in {country}?", "how big is {country}?",
    "what do people eat in {country}?", "who is the king of {country}?", "tell me about {country}.",
    "how many people live in {city}?", "how far is it to {city}?", "how far is {city} from here?",
    "how is the weather in {city}?", "what time is it in {city}?", "is it cold in {city} {when}?",
    "when does the train to {city} leave?", "how much is a flight to {city}?", "how old is {city}?",
    "how is the weather?", "how is the weather {when}?", "will it rain {when}?", "is it going to be hot {when}?",
    "what time is it?", "what is the time?", "what day is it?", "what is the date {when}?", "what year is it?",
    "what is the news?", "what is the news {when}?",
    "who wrote hamlet?", "who wrote this book?", "who wrote this song?",
    "who invented the {device}?", "when was the {device} invented?", "how does a {device} work?",
    "how much does a {device} cost?", "who discovered {country}?", "who built this {site}?",
    "when was {famous} born?", "where was {famous} born?", "where does {famous} live?", "who was {famous}?",
    "how tall is {famous}?", "why is {famous} famous?",
    "how old is {name}?", "where does {name} live?", "who is {name}?", "what does {name} do?", "where is {name}?",
    "when will {name} come home?", "does {name} like {food}?", "does {name} play {sport}?",
    "what does a {animal} eat?", "how long does a {animal} live?", "how fast is a {animal}?",
    "how heavy is a {animal}?",
    "why does a {animal} sleep?",
    "how do i cook {food}?", "how do you make {food}?", "how much does {food} cost?", "where can i buy {food}?",
    "is {food} good for me?", "what is the price of {food}?",
    "how far is the {nature}?", "how deep is the {nature}?", "how old is the {nature}?", "why is the {nature} blue?",
    "how big is the {nature}?",
    "how do you play {sport}?", "how do i learn to play the {instrument}?", "who plays the {instrument}?",
    "is there a {site} near here?", "where is the next {site}?", "when does the {site} open?",
    "what is {number} times {factor}?", "how much is {number} times {factor}?",
    "what is {number} divided by {factor}?", "why do people sleep?", "why do we love music?",
    "what is the meaning of life?", "what is love?", "what is my name?", "how old am i?", "where am i?",
    "where do i live?", "who am i?", "what did i eat {when}?",
)  # fmt: skip
REQUESTS = (
    "play some music.", "play a song.", "play the {instrument}.", "play {sport} with me.", "sing a song.",
    "tell me a joke.", "tell me a story.", "tell me a story about a {animal}.", "write a letter to {name}.",
    "write a poem about the {nature}.", "write a story about a {animal}.", "draw a {animal}.",
    "call {name}.", "please call {name} {when}.", "call the {site}.", "send a letter to {name}.",
    "order a pizza.", "order some {food}.", "please buy some {food}.", "make me some {food}.",
    "cook some {food} for {name}.", "book a flight to {city}.", "book a ticket to {country}.",
    "find a {site} in {city}.", "book a {site} in {city}.", "turn on the {device}.", "turn off the {device}.",
    "turn on the lights.", "turn off the lights.", "wake me up {when}.", "set an alarm for {minutes} minutes.",
    "stop the {device}.", "open the door.", "close the door.", "translate this for {name}.",
    "remind me to call {name}.", "remind me {when} to buy {food}.", "show me the way to {city}.",
)  # fmt: skip
REQUEST_SHARE = 0.3


def ask(split: str, rng: random.Random) -> Question:
    """A question or a request of this split, and the answer that refuses it."""
    while True:
        requested = rng.random() < REQUEST_SHARE
        template = rng.choice(REQUESTS if requested else QUESTIONS)
        gaps = {gap[1:-1]: rng.choice(FILLINGS[gap[1:-1]]) for gap in GAP.findall(template)}
        held = any(held_out(f"outside: {piece}") for piece in (template, *gaps.values()))
        text = template.format(**gaps)
        if held == (split == "heldout") and (not gaps or belongs(text, split)):
            return Question("outside", "outside", text, CANNOT if requested else UNKNOWN)
