"""Wordings that only the warm-up uses, beside those of the train split; none is a wording of a held-out split."""

from functools import cache
from itertools import product

from calltune.data.sources.synthetic.small_talk_train import PLAIN_PAIRS
from calltune.data.sources.synthetic.wordings import small_talk, wordings
from calltune.data.sources.synthetic.wordings_train import (
    PLAIN_BARE_REFUSALS,
    PLAIN_CLAIMS,
    PLAIN_QUESTIONS_BACK,
    PLAIN_REFUSALS,
    PLAIN_REQUESTS,
)
from tiny_qwen3.words import HELD_OUT

# fmt: off
REQUEST_PARTS = (
    ("", "", "", "Hi, ", "Hello, ", "Hey, ", "Okay, ", "Listen, ", "So, ", "Well, ", "Good day, ", "One thing: ",
     "By the way, ", "First, ", "Then, ", "After that, ", "Again, ", "Right, "),
    ("please {do}", "can you {do}", "could you {do}", "would you {do}", "will you {do}", "I need to {do}",
     "I want to {do}", "I have to {do}", "I must {do}", "we should {do}", "we want to {do}", "we need to {do}",
     "you can {do}", "try to {do}", "let me {do}", "let's {do}", "help us {do}", "I'd love to {do}",
     "I was told to {do}", "I plan to {do}", "I am trying to {do}", "do me a favour and {do}", "it is my wish to {do}",
     "my wife asked me to {do}", "the team needs to {do}", "someone has to {do}", "I hope you can {do}",
     "I wonder if you could {do}", "your job is to {do}", "the next step is to {do}", "remember to {do}",
     "don't forget to {do}", "{do}", "{do}", "{do}", "how can I {do}", "how do I {do}", "may I {do}",
     "{slots}, {act}", "{slots} I want to {act}", "{slots}, can you {act}", "{act}, namely {slots}",
     "I want to {act}, {slots}", "please {act} ({slots})", "{act} - {slots}", "can you {act}, {slots}",
     "the request is to {act}: {slots}", "{act}, this time {slots}", "please {act}. Use this: {slots}"),
    ("", "", "", "", ", please", " for me", " for us", " today", " now", " right away", " if you can", ", thanks",
     " as soon as possible", ", will you", " this week", " when you have time", " again", " once more"),
)

SLOT_PARTS = {
    "date": (("on", "for", "by", "before", "after", "until", "from", "as of", "not later than", "to"),
             ("", "", "the date", "the date of", "date", "the evening of")),
    "time": (("at", "for", "from", "by", "before", "after", "until", "towards", "exactly at"),
             ("", "", "the time", "the hour")),
    "city": (("in", "to", "near", "for", "towards", "within", "close to", "into", "at"),
             ("", "", "the city of", "the town of", "the centre of")),
    "origin": (("from", "starting from", "leaving from", "coming out of", "going from"), ("", "", "the city of")),
    "person": (("with", "for", "to", "from", "of", "about", "next to", "without"), ("", "", "my friend", "Mr", "Ms")),
    "title": (("called", "titled", "named", "with the name", "with title", "known as", "under the name"), ("",)),
    "code": (("with", "under", "using", "for", "by", "having"),
             ("code", "number", "reference", "the reference number", "the code", "id", "the booking code")),
}

UNIT_PARTS = {
    "nights": (("for {v}", "of {v}", "with {v}", "in {v}", "about {v}", "all in all {v}", "exactly {v}"), ("nights",)),
    "guests": (("for {v}", "of {v}", "with {v}", "about {v}", "exactly {v}", "up to {v}"),
               ("guests", "people", "persons")),
    "copies": (("with {v}", "in {v}", "for {v}", "making {v}", "exactly {v}", "up to {v}"),
               ("copies", "pieces", "items")),
    "minutes": (("for {v}", "of {v}", "with {v}", "in {v}", "about {v}", "within {v}", "exactly {v}"),
                ("minutes", "min")),
    "amount": (("for {v}", "of {v}", "with {v}", "worth {v}", "up to {v}", "exactly {v}", "about {v}"),
               ("euros", "dollars", "pounds", "francs")),
    "size": (("in", "of", "with", "in the size", "as", "size", "having", "taking the"), ("{v}", "{v} size")),
    "colour": (("in", "of", "with", "in the colour", "colour", "having", "coloured in"), ("{v}", "{v} colour")),
    "priority": (("with", "of", "at", "as", "in", "priority", "having"), ("{v}", "{v} priority", "{v} importance")),
}

REFUSAL_PARTS = (
    ("", "", "Sorry, ", "I'm sorry, ", "Unfortunately, ", "I'm afraid ", "Sorry but ", "Oh, sorry, "),
    ("I can't {act}", "I cannot {act}", "I am not able to {act}", "I'm not able to {act}", "I am unable to {act}",
     "I have no tool to {act}", "I don't have a tool to {act}", "I do not have a tool to {act}",
     "there is no tool to {act}", "my tools cannot {act}", "I cannot find a tool to {act}",
     "I can't do that", "I cannot help with this", "I have no tool for the {thing}",
     "I am unable to do it", "I'm not able to help"),
    ("", "", "", " here", " today", " right now", " with my tools", " for you", " myself", " yet", " at all",
     " from here", ", sorry"),
)

BACK_PARTS = (
    ("", "", "", "Okay, ", "Sure, ", "Of course, ", "Yes, but ", "Gladly, ", "One moment, ", "All right, ", "Well, "),
    ("which {what} is it?", "what {what} is it?", "which {what} do you want?", "what is the {what}?",
     "what {what} should I take?", "which {what} should it be?", "which {what} do you need?",
     "what {what} do you need for the {thing}?", "please tell me the {what}.", "please give me the {what}.",
     "could you tell me the {what}?", "can you tell me the {what}?", "let me know the {what}.",
     "I need to know the {what}.", "please tell me the {what} for the {thing}.", "may I have the {what}?",
     "what would the {what} be?", "to {act} I need to know the {what}.", "what is the {what} for the {thing}?",
     "before that, what is the {what}?", "the {what} is missing, what is it?", "please provide the {what}.",
     "could you provide the {what} of the {thing}?", "how about the {what}?", "do you know the {what}?"),
)

CLAIM_PARTS = (
    ("", "", "Done, ", "Okay, ", "Great, ", "Good, ", "Perfect, ", "Yes, ", "All good, "),
    ("the {thing} is {done}", "your {thing} is {done}", "I {done} the {thing}", "I have {done} your {thing}",
     "the {thing} was {done}", "the {thing} has been {done}", "the {thing} got {done}", "a {thing} is now {done}",
     "everything is {done}", "it is {done}"),
    ("", "", "", " now", " for you", " already", " {slots}", " {slots}", " just now", " as you asked", " today"),
)
# fmt: on

SMALL_TALK = (
    ("How old is {a_thing}?", "It can be new or very old."),
    ("Where does the {thing} come from?", "It comes from many places."),
    ("Who made the first {thing}?", "Nobody knows for sure."),
    ("When was the {thing} made?", "A long time ago, I believe."),
    ("Why is the {thing} so {mood}?", "It may just seem {mood} to you."),
    ("Is the {thing} bigger than {a_thing_2}?", "The {thing} is often the bigger one."),
    ("Between {a_thing} and {a_thing_2}, what is nicer?", "I would take the {thing}."),
    ("What rhymes with {thing}?", "It is not easy to rhyme with {thing}."),
    ("How many letters are in {thing}?", "Count them and you will see."),
    ("Say the word {thing} twice.", "{thing}, {thing}."),
    ("Repeat after me: {thing}.", "{thing}."),
    ("Translate nothing, just say hello.", "Hello."),
    ("My friend loves the {thing}.", "Your friend has good taste."),
    ("The {thing} is {mood}, I think.", "That may be so."),
    ("I once had {a_thing} and {a_thing_2}.", "That must have been nice."),
    ("Yesterday I saw {a_thing} for the first time.", "The first time is always special."),
    ("I love my {thing}.", "That is wonderful to hear."),
    ("It was a long day with the {thing}.", "Rest well after such a day."),
    ("People say that the {thing} is good for you.", "Many people do say that."),
    ("Cheers for the {thing}!", "Any time."),
    ("You are great!", "Thank you, that is kind."),
    ("You did well with that {thing}.", "Thank you for saying so."),
    ("Perfect, thank you so much.", "With pleasure."),
    ("Okay, that was it.", "Good, until next time."),
    ("Good day to you.", "Good day to you too."),
    ("Nice to meet you.", "Nice to meet you too."),
    ("Do you sleep at night?", "No, I am always awake."),
    ("Can you feel {mood}?", "I am a program and feel nothing."),
    ("Have you ever seen {a_thing}?", "I have only read about it."),
    ("Would you like {a_thing}?", "I am a program and need nothing."),
    ("Could you describe {a_thing} to a child?", "It is a thing that grown people use."),
    ("Please describe the {thing} in one word.", "Useful."),
    ("Please count to three.", "One, two, three."),
    ("Finish the line: roses are red.", "Violets are blue."),
    ("Write a poem about {a_thing}.", "O {thing}, you shine so bright, by day and by night."),
    ("Make up a name for my {thing}.", "Call it Sunny."),
    ("What is {a} minus {b}?", "It is a small sum to do."),
    ("What is {a} times two?", "Twice {a}."),
    ("Is {a} more than {b}?", "Compare the two and you will see."),
    ("Name a fruit.", "An apple."),
    ("What do you call someone who is {mood}?", "A {mood} person."),
    ("What is the difference between {a_thing} and {a_thing_2}?", "They are two different things."),
    ("I wonder what {a_thing} is for.", "It makes life easier."),
    ("Teach me something about {a_thing}.", "The word {thing} is older than you think."),
    ("What would happen without the {thing}?", "Life would go on."),
    ("Does the {thing} need water?", "That depends on the {thing}."),
)
"""Questions and replies, of which no more than the form matters."""


@cache
def warmup_small_talk() -> tuple[tuple[str, str], ...]:
    """(question, reply) templates: the warm-up's own and those of the train split, none held out."""
    own = tuple(pair for pair in SMALL_TALK if not {text.lower() for text in pair} & banned_wordings())
    return own + PLAIN_PAIRS


@cache
def banned_wordings() -> frozenset[str]:
    """Every wording of the held-out splits, in lower case."""
    found: set[str] = set()
    for split in HELD_OUT:
        words = wordings(split)
        found.update(words.requests, words.questions_back, words.refusals, words.bare_refusals, words.claims)
        found.update(phrase for phrases in words.slots.values() for phrase in phrases)
        found.update(text for pair in small_talk(split).pairs for text in pair)
    return frozenset(text.lower() for text in found)


def allowed(templates: list[str]) -> tuple[str, ...]:
    """The templates that no held-out split uses; raises ValueError if none is left."""
    kept = tuple(t for t in templates if t.lower() not in banned_wordings())
    if not kept:
        raise ValueError("every wording is held out")
    return kept


def capital(text: str) -> str:
    """The text with its first letter, or the placeholder it starts with, as a capital."""
    return text[:2].upper() + text[2:] if text.startswith("{") else text[:1].upper() + text[1:]


def _joined(parts: tuple[tuple[str, ...], ...], end: str) -> tuple[str, ...]:
    texts = ("".join(choice) for choice in product(*parts))
    return allowed([capital(text if text.endswith(("?", ".")) else text + end) for text in texts])


@cache
def warmup_requests() -> tuple[str, ...]:
    """Request wordings, with "?" and "." drawn by the first words."""
    asking = ("can you", "could you", "would you", "will you", "how ", "may I")
    texts = []
    for opener, core, closer in product(*REQUEST_PARTS):
        closer = "" if "slots" in core else closer
        texts.append(capital(f"{opener}{core}{closer}{'?' if core.startswith(asking) else '.'}"))
    return allowed(texts) + PLAIN_REQUESTS * 60


@cache
def warmup_replies() -> dict[str, tuple[str, ...]]:
    """Reply wordings by kind of reply."""
    return {
        "refusal": _joined(REFUSAL_PARTS, ".") + PLAIN_REFUSALS * 30 + PLAIN_BARE_REFUSALS * 30,
        "back": _joined(BACK_PARTS, "?") + PLAIN_QUESTIONS_BACK * 10,
        "claim": _joined(CLAIM_PARTS, ".") + PLAIN_CLAIMS * 30,
    }


@cache
def warmup_slots() -> dict[str, tuple[str, ...]]:
    """Wordings of a given value, by kind."""
    found = {}
    for kind, train in wordings("train").slots.items():
        if kind in SLOT_PARTS:
            value = '"{v}"' if kind == "title" else "{v}"
            texts = [" ".join(filter(None, (*parts, value))) for parts in product(*SLOT_PARTS[kind])]
        else:
            texts = [" ".join(parts) for parts in product(*UNIT_PARTS[kind])]
        found[kind] = allowed(texts) + train * 3
    return found
