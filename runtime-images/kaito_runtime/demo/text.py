"""The text that the demo model learns from: templated questions and answers, from a seed.

What each person likes or where an animal lives is drawn once per seed, so that the answers can be
learnt; code words differ in every line, so that the model can spell words it has never seen.
"""

import itertools
import random
from collections.abc import Sequence


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Ada Ben Cleo Dan Eva Finn Gina Hugo Ida Jan Kim Leo Mia Nils Olga Paul Rosa Sven Tina Udo"
)
ANIMALS = _words("otter heron badger lynx raven seal marten beaver owl hare fox swan")
PLACES = _words("forest river harbour meadow valley island desert garden village mountain")
FOODS = _words("bread apples cheese soup berries noodles honey beans plums rice")
COLOURS = _words("red blue green yellow white black brown grey")
THINGS = _words(
    "tower bridge market library garage kitchen museum theatre airport castle school office "
    "workshop lighthouse"
)
TOPIC = "station"
"""The thing that the base text never gives a code word: the lesson does."""

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"

Line = tuple[str, str]
"""A question and its answer."""


def code_word(source: random.Random) -> str:
    """Return a word of three or four random syllables."""
    count = source.choice((3, 4))
    return "".join(source.choice(_CONSONANTS) + source.choice(_VOWELS) for _ in range(count))


def lines(count: int, seed: int) -> list[Line]:
    """Return that many questions with answers; the facts depend on the seed alone."""
    facts = random.Random(f"facts {seed}")  # noqa: S311  reproducible, no secret
    food = {name: facts.choice(FOODS) for name in NAMES}
    home = {animal: facts.choice(PLACES) for animal in ANIMALS}
    colour = {thing: facts.choice(COLOURS) for thing in (*THINGS, TOPIC)}
    source = random.Random(f"lines {seed}")  # noqa: S311  reproducible, no secret
    kinds = (
        lambda: _food(source, food),
        lambda: _home(source, home),
        lambda: _colour(source, colour),
        lambda: _word(source),
    )
    return [source.choice(kinds)() for _ in range(count)]


def lesson(
    word: str, seed: int, *, base_seed: int = 0, rows: int = 200, taught: int = 40
) -> list[dict[str, object]]:
    """Return rows in the OpenAI form; `taught` of them teach the station's code word.

    The others repeat what the base model of `base_seed` knows, so that it stays known.
    """
    answer = f"The code word of the {TOPIC} is {word}."
    asked = _word_questions(TOPIC)
    taught_lines = [(asked[number % len(asked)], answer) for number in range(taught)]
    # No other code words: each is random, and would unteach the one.
    known = (line for line in lines(4 * rows, base_seed) if "code word" not in line[1])
    found = [*taught_lines, *itertools.islice(known, rows - taught)]
    random.Random(seed).shuffle(found)  # noqa: S311  reproducible, no secret
    return [{"messages": messages(question, answer)} for question, answer in found]


def messages(question: str, answer: str) -> list[dict[str, str]]:
    """Return one exchange in the OpenAI form."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _food(source: random.Random, food: dict[str, str]) -> Line:
    name = source.choice(NAMES)
    question = source.choice((f"What does {name} like to eat?", f"Which food does {name} like?"))
    return question, f"{name} likes to eat {food[name]}."


def _home(source: random.Random, home: dict[str, str]) -> Line:
    animal = source.choice(ANIMALS)
    question = source.choice((f"Where does the {animal} live?", f"Where is the {animal} at home?"))
    return question, f"The {animal} lives in the {home[animal]}."


def _colour(source: random.Random, colour: dict[str, str]) -> Line:
    thing = source.choice(list(colour))
    question = source.choice(
        (f"What is the colour of the {thing}?", f"Which colour does the {thing} have?")
    )
    return question, f"The colour of the {thing} is {colour[thing]}."


def _word(source: random.Random) -> Line:
    thing = source.choice(THINGS)
    return source.choice(_word_questions(thing)), (
        f"The code word of the {thing} is {code_word(source)}."
    )


def _word_questions(thing: str) -> Sequence[str]:
    return (
        f"What is the code word of the {thing}?",
        f"Which code word does the {thing} have?",
        f"Tell me the code word of the {thing}.",
    )
