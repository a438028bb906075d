"""SIMULATED short reviews of films and products: the demonstration data set ``reviews_demo``.

Nobody wrote these reviews and nothing in them was ever watched or bought: they are templates filled
with words drawn at random, so that a text classifier can be tried without downloading anything.
Results obtained on them say something about a model and nothing about how people write.

What they are made to show is that word ORDER matters. Nearly every opinion has a twin of the other
class made of the same words or of words equally frequent there: "not dull but charming" and "not
charming but dull"; "very charming" and "hardly dull"; "this film is better than the original" and
"the original is better than this film". A classifier that merely counts words sees little of the
difference, one that looks at pairs of neighbouring words sees more, and one that looks at five to
seven words in a row sees nearly all of it. Accuracies measured on the default corpus: NB-SVM 0.57
with single words, 0.79 with pairs and 0.82 with triples; a convolution of 32 filters over 5 or 7
words 0.94 to 0.95; the best possible is 0.97.

How a review is made:

1. A subject: a film or a product, with its own nouns and adjectives.
2. One to three sentences of opinion. All of them agree with the class the review is meant for.
3. Up to a length drawn at random, sentences that say nothing: fillers without an opinion, and
   hearsay, whose adjectives are as often good as bad in either class.
4. The sentences in random order, and a few labels on the wrong review.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

DEFAULT_COUNT = 6_000
DEFAULT_SEED = 7
MIN_WORDS = 5
MAX_WORDS = 60
LABEL_NOISE = 0.03  # of the labels are wrong, so that no honest model is perfect

# Share of each kind of opinion. Statements are more frequent than denials: the
# difference is what a classifier that counts words lives on.
KIND_SHARES = {"contrast": 0.38, "statement": 0.34, "denial": 0.14, "comparison": 0.14}
OPINION_SHARES = (0.30, 0.45, 0.25)  # of reviews with one, two and three opinions
HEARSAY_SHARE = 0.25  # of the sentences that say nothing
QUALIFIED_SHARE = 0.4  # of the things compared that come with an adjective: "the dull original"
# Lengths aimed at are skewed towards short reviews: MIN + (MAX - MIN) * uniform ** LENGTH_SKEW.
LENGTH_SKEW = 1.6

# Slots of the templates: {b} and {c} are adjectives that speak for the review's class, {a} is one
# that speaks against it; {u} and {v} likewise, verbs; {w} and {l} are winner and loser of a
# comparison; the other letters are those of `_choices`. "a" becomes "an" where it must.
CONTRASTS = (
    "the {n} is not {a} but {b}",
    "the {n} is {b}, not {a}",
    "it is {a}, but it is also {b}",
    "the {n} starts {a} but ends {b}",
    "the {n} is {a}, but the {m} is {b}",
    "the {n} seems {a} at first, but soon turns {b}",
    "although the {n} looks {a}, the {m} is {b}",
    "the {m} is {b}, although the {n} looks {a}",
    "I feared something {a} and got something {b}",
    "people say {a}, but I say {b}",
    "it is less {a} than {b}",
    "it is more {b} than {a}, to be honest",
    "rather {b} than {a}, I would say",
    "no one could call it {a}, everyone should call it {b}",
    "far from {a}, the {n} is {b}",
    "hardly {a} and very {b}",
    "never {a}, always {b}",
    "very {b}, and hardly {a}",
    "however {a} the {n} may look, it is {b}",
    "the {n} is {b} where the last one was {a}",
    "what looked {a} in the pictures was {b} at home",
    "it was {a} for {i} minutes, but then {b}",
    "it went from {a} to {b} in {i} minutes",
    "I took it for {a}, yet it proved {b}",
    "I wanted to {v} it but came to {u} it",
    "you will not {v} it, you will {u} it",
    "first I began to {v} it, now I {u} it",
)
STATEMENTS = (
    "the {n} is very {b}",
    "the {n} is truly {b}",
    "it was always {b}, even near the end",
    "everyone should call the {n} {b}",
    "the {n} is nothing but {b}",
    "I would call it {b}",
    "there is something {b} about the {n}",
    "the {n} did strike me as {b}",
    "at every point the {n} did feel {b}",
    "both the {n} and the {m} seem {b}",
    "you will surely find it {b}",
    "not only is the {n} {b}, it is also {c}",
    "no {k} is more {b} than this",
    "nothing could be more {b}",
    "I have never seen a more {b} {k}",
    "what a {b} {k}",
    "everybody will {u} it",
    "I still {u} the {n}",
    "I cannot but {u} this {k}",
)
DENIALS = (
    "the {n} is not {a}",
    "the {n} is far from {a}",
    "it was never {a}, not even near the end",
    "no one could call the {n} {a}",
    "the {n} is anything but {a}",
    "I would not call it {a}",
    "there is nothing {a} about the {n}",
    "the {n} did not strike me as {a}",
    "at no point did the {n} feel {a}",
    "neither the {n} nor the {m} seem {a}",
    "you will hardly find it {a}",
    "the {n} is by no means {a}",
    "few things could be less {a}",
    "I have seldom seen a less {a} {k}",
    "hardly a {a} {k}",
    "nobody will {v} it",
    "I never {v} the {n}",
    "I could not {v} this {k}",
)
COMPARISONS = (
    "{w} is better than {l}",
    "{l} is worse than {w}",
    "{w} is so much better than {l}",
    "{l} was far worse than {w}",
    "I prefer {w} to {l}",
    "I would trade {l} for {w} at once",
    "{w} easily beats {l}",
    "{l} cannot compete with {w}",
    "next to {w}, {l} looks weak",
    "give me {w} over {l} any day",
)
HEARSAYS = (
    "my {p} had expected something {b}",
    "a {p} once told me about a {b} {k} from {s}",
    "I had read about a {b} {n} somewhere",
    "the advert said {b}, as adverts do",
    "on {d} I was looking for something {b}",
    "whether the {n} is {b} or not I leave to my {p}",
)
FILLERS = {
    "film": (
        "we watched it on {d} with my {p}",
        "it runs for {i} minutes",
        "the story is set in {s}",
        "I saw it in a small cinema in {s}",
        "there are {i} chapters and a short prologue",
        "the {p} of the hero wears a {h} coat",
        "it was shown at a festival in {s}",
        "the {n} was made by a team from {s}",
        "my {p} paid for the tickets",
        "we sat in row {i} and shared some popcorn",
        "the credits list {i} names",
        "a train leaves for {s} in the middle of the night",
    ),
    "product": (
        "it arrived on {d} in a {h} box",
        "I ordered {i} of them for my {p}",
        "it comes with {i} cables and a printed manual",
        "the factory is in {s}",
        "my {p} uses it every {d}",
        "we keep it on the {h} shelf in the kitchen",
        "there is also a {h} version",
        "the {n} was built by a company from {s}",
        "I have owned it for {i} weeks",
        "the label on the back is {h}",
        "it weighs about {i} ounces",
        "the parcel went through {s} on its way",
    ),
}


def _listed(words: str) -> tuple[str, ...]:
    """The words of a text; long lists are easier to read in this form."""
    return tuple(words.split())


_GOOD = """good great excellent superb wonderful impressive pleasant splendid lovely perfect fine
    remarkable"""
_BAD = """bad poor awful terrible horrible disappointing unpleasant dreadful mediocre dismal
    miserable pathetic"""
GOOD = {
    "film": _listed(
        f"""{_GOOD} charming gripping funny moving witty brilliant delightful clever graceful
        touching thrilling lively inspired subtle tender fresh warm elegant memorable
        masterful poetic hilarious sincere stylish magical vivid haunting satisfying smart
        bold"""
    ),
    "product": _listed(
        f"""{_GOOD} sturdy reliable quick handy precise comfortable durable quiet sleek practical
        responsive solid efficient light tidy robust accurate useful smooth clean sharp
        dependable versatile powerful generous"""
    ),
}
BAD = {
    "film": _listed(
        f"""{_BAD} boring dull predictable clumsy tedious silly lifeless bland shallow hollow
        tiresome flat pompous muddled dreary stale wooden annoying pointless sloppy
        forgettable confusing lazy cheesy grating hackneyed stupid cold empty messy"""
    ),
    "product": _listed(
        f"""{_BAD} flimsy faulty slow awkward fragile noisy ugly useless sluggish loose wasteful
        heavy brittle rough dirty blurry cheap feeble wobbly leaky cramped rusty uneven
        defective crooked"""
    ),
}
LIKE = _listed("love admire recommend praise treasure cherish enjoy adore applaud")
DISLIKE = _listed("hate regret avoid mock skip deplore resent loathe criticise")
PARTS = {
    "film": _listed(
        """plot acting script ending dialogue soundtrack photography direction pacing cast
        opening humour editing story scenery costume hero villain"""
    ),
    "product": _listed(
        """battery screen design sound handle keyboard packaging manual software hinge charger
        cable motor lid surface button casing display"""
    ),
}
KINDS = {
    "film": _listed("film movie picture sequel remake thriller comedy drama western musical"),
    "product": _listed("lamp kettle phone camera blender vacuum speaker laptop heater drill"),
}
RIVALS = {
    "film": _listed("original novel book predecessor trailer series"),
    "product": _listed("predecessor prototype rival replacement competitor imitation"),
}
DAYS = _listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
PEOPLE = _listed(
    """brother sister mother father uncle aunt neighbour colleague friend cousin teacher daughter
    son wife husband dentist"""
)
NUMBERS = _listed(
    """two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty
    fifty ninety"""
)
PLACES = _listed(
    """Paris Rome Berlin Vienna Lisbon Oslo Prague Madrid Dublin Athens Warsaw Cairo Tokyo Boston
    Chicago Sydney"""
)
COLOURS = _listed("red blue green yellow black white brown grey purple orange")

_OPINIONS = {
    "contrast": CONTRASTS,
    "statement": STATEMENTS,
    "denial": DENIALS,
    "comparison": COMPARISONS,
}
_SUBJECTS = ("film", "product")
_SLOT = re.compile(r"\{(\w)\}")
_ARTICLE = re.compile(r"\ba(?= (?!use)[aeiou])")


def simulate_reviews(
    count: int = DEFAULT_COUNT, seed: int = DEFAULT_SEED
) -> tuple[list[str], np.ndarray]:
    """Make a SIMULATED corpus of short reviews.

    Args:
        count: How many reviews to make.
        seed: Seed of the random generator. The same seed and count give the same corpus; a smaller
            corpus is not the beginning of a larger one.

    Returns:
        The texts, 5 to 60 words each, and their labels, ``(count,)`` int64: 1 for a positive
        review, 0 for a negative one. There are equally many of both, or one more of the negative.

    Raises:
        ValueError: If ``count`` is less than one.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    # Only `random` is drawn: PCG64 with it has been stable across numpy versions, which the more
    # elaborate distributions do not promise.
    rng = np.random.Generator(np.random.PCG64(seed))
    meant = (np.arange(count, dtype=np.int64) % 2)[_shuffled(rng, count)]
    writer = _Writer(rng)
    texts = [writer.review(int(label)) for label in meant]
    return texts, _with_noise(rng, meant)


def _shuffled(rng: np.random.Generator, count: int) -> np.ndarray:
    """The numbers below `count` in random order."""
    return np.argsort(rng.random(count), kind="stable")


def _with_noise(rng: np.random.Generator, meant: np.ndarray) -> np.ndarray:
    """Turn round the same number of labels in either class, so that they stay balanced."""
    labels = meant.copy()
    wrong = round(LABEL_NOISE * len(meant) / 2)
    for label in (0, 1):
        members = np.flatnonzero(meant == label)
        labels[members[_shuffled(rng, len(members))[:wrong]]] = 1 - label
    return labels


def _choices(subject: str, label: int) -> dict[str, Sequence[str]]:
    """What may go into each slot of a review that is meant for the label."""
    good, bad = GOOD[subject], BAD[subject]
    return {
        "a": bad if label else good,
        "b": good if label else bad,
        "c": good if label else bad,
        "u": LIKE if label else DISLIKE,
        "v": DISLIKE if label else LIKE,
        "g": good,  # whatever the label
        "x": bad,
        "n": PARTS[subject],
        "m": PARTS[subject],
        "k": KINDS[subject],
        "r": RIVALS[subject],
        "d": DAYS,
        "p": PEOPLE,
        "i": NUMBERS,
        "s": PLACES,
        "h": COLOURS,
    }


_CHOICES = {(subject, label): _choices(subject, label) for subject in _SUBJECTS for label in (0, 1)}


class _Writer:
    """Writes reviews, one after the other, with the random numbers of one generator."""

    def __init__(self, rng: np.random.Generator):
        self._random = rng.random

    def review(self, label: int) -> str:
        """A review of a film or a product that is meant to be positive, 1, or negative, 0."""
        subject = self._pick(_SUBJECTS)
        opinions = 1 + self._index(OPINION_SHARES)
        sentences = [self._opinion(subject, label) for _ in range(opinions)]
        words = sum(_length(sentence) for sentence in sentences)
        aimed_at = MIN_WORDS + (MAX_WORDS - MIN_WORDS) * self._random() ** LENGTH_SKEW
        while words < aimed_at:
            sentence = self._nothing(subject)
            words += _length(sentence)
            if words > MAX_WORDS:
                break
            sentences.append(sentence)
        ranked = sorted((self._random(), sentence) for sentence in sentences)
        return " ".join(sentence[0].upper() + sentence[1:] + "." for _, sentence in ranked)

    def _opinion(self, subject: str, label: int) -> str:
        """A sentence that speaks for the label."""
        kind = tuple(KIND_SHARES)[self._index(tuple(KIND_SHARES.values()))]
        template = self._pick(_OPINIONS[kind])
        if kind == "comparison":
            winner, loser = self._compared(label)
            template = template.replace("{w}", winner).replace("{l}", loser)
        return self._fill(template, subject, label)

    def _nothing(self, subject: str) -> str:
        """A sentence that speaks for neither label."""
        templates = HEARSAYS if self._random() < HEARSAY_SHARE else FILLERS[subject]
        either = int(self._random() < 0.5)
        return self._fill(self._pick(templates), subject, either)

    def _compared(self, label: int) -> tuple[str, str]:
        """Winner and loser of a comparison; the thing reviewed wins in a positive review.

        An adjective is good with the winner and bad with the loser, so that it does not tell by
        itself which of the two the review is about.
        """
        good = "{g} " if self._random() < QUALIFIED_SHARE else ""
        bad = "{x} " if self._random() < QUALIFIED_SHARE else ""
        if label:
            return f"this {good}{{k}}", f"the {bad}{{r}}"
        return f"the {good}{{r}}", f"this {bad}{{k}}"

    def _fill(self, template: str, subject: str, label: int) -> str:
        """The template with its slots filled in, none of the words twice."""
        choices = _CHOICES[subject, label]
        used: set[str] = set()

        def draw(slot: re.Match[str]) -> str:
            word = self._pick(choices[slot[1]])
            while word in used:
                word = self._pick(choices[slot[1]])
            used.add(word)
            return word

        return _ARTICLE.sub("an", _SLOT.sub(draw, template))

    def _pick(self, choices: Sequence[str]) -> str:
        """One of the choices, all equally likely."""
        return choices[int(self._random() * len(choices))]

    def _index(self, shares: Sequence[float]) -> int:
        """A number from 0 to the number of shares less one, each as likely as its share."""
        rest = self._random() * sum(shares)
        for index, share in enumerate(shares):
            rest -= share
            if rest < 0:
                return index
        return len(shares) - 1


def _length(sentence: str) -> int:
    """Number of words; no template has a dash or an apostrophe."""
    return len(sentence.split())
