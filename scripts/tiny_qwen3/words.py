"""Words that the warm-up uses, beside those of the train split; none is a word of a held-out tool or value."""

import random
from functools import cache

from calltune.data.sources.synthetic import values
from calltune.data.sources.synthetic.catalogue import DOMAINS
from calltune.data.sources.synthetic.values import Split

HELD_OUT: tuple[Split, ...] = ("development", "final")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = _words("""
anchor apple apron arrow balcony ballad banner barrel basket bench berry bottle bowl bracelet branch brick bridge
broom brush bucket button cable candle cannon canvas card carrot castle ceiling chain chair chalk chapter chart cheese
chimney circle circuit clock cloud coat coin collar column comb compass computer cookie copper corner cottage counter
cradle crayon crown cup curtain cushion desk dessert dial diamond dictionary doll drawer dress drill drum elevator
engine envelope essay fabric feather fence file filter flag flask floor flower flute folder forest fork fountain frame
fruit gallery game garden gift glass globe glove grain guide hammer handle harp hat hedge helmet honey horn house ice
icon island ivy jar jewel journal jug juice kennel key keyboard kitchen kite knife knot label ladder lantern laundry
lawn leaf lecture lens lever lid list lobby locker lotion lunchbox magnet manual marble marker mask mat medal melody
menu message microphone mill mixer module monitor motor mug napkin necklace needle nest net notebook novel nut oar
office orchard orchid organ ornament package paddle page paint palace pan panel paper parcel park path patio peach pen
pencil pepper perfume petition piano picture pier pipe plate plug poem pole pond portrait pot potion pouch prize
program puzzle quilt rack rail ramp receipt record ribbon ring road robe robot rod roof room rope route ruler sail
salad sandwich sauce scarf scene scissors score screen sculpture seat shelf shell ship shirt shovel sign signal skirt
sledge slipper soap sock song soup spoon spring stable stage stamp statue stool stove straw string studio suit
suitcase sweater swing sword tank tape tea telescope tent theatre thread ticket tie tile timer tool toothbrush torch
towel tower toy track tractor trailer tray trophy trumpet tube tunnel umbrella uniform urn vase vest village wagon
wall wallet ward wardrobe watch water wheel whistle window wire wool wreath yacht yard zipper policy budget quota
permit licence survey ballot cargo shipment timetable syllabus itinerary briefcase statement summary
""")

VERBS = {
    "open": "opened", "close": "closed", "clean": "cleaned", "move": "moved", "paint": "painted", "sell": "sold",
    "rent": "rented", "load": "loaded", "save": "saved", "copy": "copied", "sign": "signed", "scan": "scanned",
    "pack": "packed", "lock": "locked", "unlock": "unlocked", "test": "tested", "measure": "measured",
    "record": "recorded", "update": "updated", "remove": "removed", "install": "installed", "report": "reported",
    "rate": "rated", "search": "searched", "watch": "watched", "collect": "collected", "deliver": "delivered",
    "hide": "hidden", "lend": "lent", "borrow": "borrowed", "weigh": "weighed", "polish": "polished",
    "sort": "sorted", "count": "counted", "draw": "drawn", "fold": "folded", "heat": "heated", "cool": "cooled",
    "pause": "paused", "resume": "resumed", "archive": "archived", "review": "reviewed", "assign": "assigned",
    "extend": "extended", "renew": "renewed", "adjust": "adjusted", "register": "registered", "insure": "insured",
}  # fmt: skip

# fmt: off
SYLLABLES = _words("""
ba be bi bo bra cal cor da del den dor fa fen fi ga gar gil go har hen ka kel kin la len lin lo lum ma mer mi
mon na nel no or pa pel pi ra ren rin ro sa sel sin so ta tel tin tor ul va vel vin wa wen zi zor ster ton ley
ford wick ham by
""")
# fmt: on


@cache
def banned_words() -> frozenset[str]:
    """Lower-case words of the tools and values of the held-out splits."""
    texts = [text for domain in DOMAINS.values() for split in HELD_OUT for text in domain.things[split].split("|")]
    pools = (values.CITIES, values.FIRST_NAMES, values.LAST_NAMES, values.TITLE_HEADS, values.TITLE_TAILS)
    texts += [text for pool in pools for split in HELD_OUT for text in pool[split]]
    texts += [text for pool in values.CHOICES.values() for split in HELD_OUT for group in pool[split] for text in group]
    return frozenset(word.lower() for text in texts for word in text.split())


class Dice(random.Random):
    """A random generator that knows the stage of the course (see `warmup.EXERCISES`)."""

    stage = 0


def made_up(rng: Dice) -> str:
    """A word that no held-out tool or value contains: random syllables, and from stage 1 on odder spellings.

    Odd words are spliced from two ordinary ones or spelled letter by letter; copying them takes every token.
    """
    while True:
        pick = rng.random() if rng.stage else 1.0
        if pick < 0.45:
            head, tail = rng.choice(nouns()), rng.choice(nouns())
            word = head[: rng.randint(1, 4)] + tail[-rng.randint(2, 5) :]
        elif pick < 0.65:
            word = "".join(
                rng.choice("bcdfghjklmnprstvwxyz" if place % 2 else "aeiou") for place in range(rng.randint(3, 8))
            )
            word = word if rng.random() < 0.5 else rng.choice("bcdfghjklmnprstvwz") + rng.choice("rl") + word
        else:
            word = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3))))
        if word not in banned_words():
            return word


@cache
def nouns() -> tuple[str, ...]:
    """Ordinary words for things, none of them held out."""
    return tuple(word for word in NOUNS if word not in banned_words())
