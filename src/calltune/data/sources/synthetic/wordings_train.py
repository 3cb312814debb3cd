"""Wordings of the train split: plain ones, and many composed of an opening, a core and an ending."""

from itertools import product

from calltune.data.sources.synthetic.wordings import Wordings
from calltune.data.sources.synthetic.wordings_development import WORDINGS as DEVELOPMENT
from calltune.data.sources.synthetic.wordings_final import WORDINGS as FINAL

# A composed text may by chance be one that another split owns. These texts are left out.
HELD_OUT = frozenset(
    text.replace(",", "")
    for words in (DEVELOPMENT, FINAL)
    for text in (*words.requests, *words.questions_back, *words.refusals, *words.bare_refusals, *words.claims)
)


def _composed(openings: tuple[str, ...], cores: tuple[str, ...], endings: tuple[str, ...]) -> tuple[str, ...]:
    """Return every combination as a sentence.

    A core that has its own full stop or question mark takes no ending.
    """
    texts = []
    for opening, core, ending in product(openings, cores, endings):
        if core.endswith(("?", ".")) and ending != endings[0]:
            continue
        text = opening + (core if core.endswith(("?", ".")) else core + ending)
        texts.append(text[:2].upper() + text[2:] if text.startswith("{") else text[0].upper() + text[1:])
    return tuple(text for text in texts if text.replace(",", "") not in HELD_OUT)


PLAIN_REQUESTS = (
    "Please {do}.",
    "{Do}.",
    "{Do}, please.",
    "Can you {do}?",
    "Could you {do}?",
    "Can you please {do}?",
    "I need you to {do}.",
    "I want to {do}.",
    "I would like to {do}.",
    "I'd like you to {do}.",
    "Would you {do}?",
    "Would you please {do}?",
    "Hi, I need to {do}.",
    "Hey, can you {do}?",
    "Help me {do}.",
    "Help me to {do}, please.",
    "We have to {do}.",
    "I have to {do} and need your help.",
    "It would be great if you could {do}.",
    "Go ahead and {do}.",
    "Make sure to {do}.",
    "My boss wants me to {do}.",
    "Quick one: {do}.",
    "Next, {do}.",
    "{Slots}, please {act}.",
    "{Slots}: {act}.",
    "{Act}, and do it {slots}.",
    "I want you to {act}. Details: {slots}.",
    "Can you {act}? It is {slots}.",
    "{Act}. That is {slots}.",
    "Is there a way to {do}?",
    "Please go and {do} now.",
)

PLAIN_QUESTIONS_BACK = (
    "Which {what} should I use?",
    "What is the {what}?",
    "What {what} do you want?",
    "Which {what} would you like for the {thing}?",
    "Please tell me the {what} first.",
    "Sure, what is the {what} of the {thing}?",
    "I need to know the {what} before I can {act}.",
    "Could you tell me the {what}?",
    "To {act}, I need the {what}. What is it?",
    "Happy to help. Which {what} is it?",
    "What should the {what} be?",
    "Please give me the {what} so that I can {act}.",
)

PLAIN_REFUSALS = (
    "Sorry, I can't {act} with the tools I have.",
    "I can't {act}, no tool of mine does that.",
    "I am not able to {act}.",
    "Sorry, I have no tool to {act}.",
    "I cannot {act} here.",
    "Unfortunately I am unable to {act}.",
    "There is no tool for the {thing}, so I can't help.",
    "I'm sorry, but I cannot {act}.",
    "My tools cannot {act} at the moment.",
    "I don't have a tool to {act}.",
)

PLAIN_BARE_REFUSALS = (
    "Sorry, I can't help with that.",
    "I am not able to do that.",
    "I cannot do that with my tools.",
    "Sorry, I have no tool for that.",
    "Unfortunately I am unable to help.",
    "I'm sorry, but I cannot answer that.",
    "I don't have a tool for this.",
)

PLAIN_CLAIMS = (
    "Done, the {thing} is {done}.",
    "Your {thing} is {done} now.",
    "I have {done} the {thing} for you.",
    "All set, I {done} the {thing} {slots}.",
    "The {thing} was {done} a moment ago.",
    "Okay, the {thing} is {done} {slots}.",
    "The {thing} is ready and {done}.",
    "It is done, the {thing} got {done}.",
)

REQUESTS = _composed(
    ("", "", "Hi, ", "Hello, ", "Okay, ", "So, ", "Well, ", "One thing: "),
    (
        "please {do}",
        "{do}",
        "I need to {do}",
        "I want to {do}",
        "we need to {do}",
        "I have to {do}",
        "I'd love to {do}",
        "try to {do}",
        "help us {do}",
        "the plan is to {do}",
        "can you {do}?",
        "could you {do}?",
        "would you {do}?",
        "will you {do}?",
        "may I {do}?",
        "how do I {do}?",
    ),
    (".", " now.", ", please.", " for us.", " when you can.", " if you can."),
)

QUESTIONS_BACK = _composed(
    ("", "", "", "Sure, ", "Okay, "),
    (
        "which {what} is it?",
        "which {what} should it be?",
        "which {what} do you want for the {thing}?",
        "which {what} do you need?",
        "which {what} would you like?",
        "what is the {what}?",
        "what {what} do you want?",
        "what {what} should I take?",
        "what is the {what} of your {thing}?",
        "what {what} do you need to {act}?",
        "could you tell me the {what}?",
        "could you tell me the {what} of the {thing}?",
        "please tell me the {what}.",
        "please tell me the {what} for your {thing}.",
        "could you give me the {what}?",
        "what should the {what} be?",
        "before I can {act}, what is the {what}?",
        "I need to know the {what} of the {thing}.",
        "may I have the {what}?",
        "which {what} should I take for the {thing}?",
        "please give me the {what} of the {thing}.",
    ),
    ("",),
)

REFUSALS = _composed(
    ("", "", "Sorry, ", "I'm sorry, ", "Unfortunately, ", "I'm afraid ", "Sorry but "),
    (
        "I can't {act}",
        "I cannot {act}",
        "I am not able to {act}",
        "I'm not able to {act}",
        "I am unable to {act}",
        "I have no tool to {act}",
        "I don't have a tool to {act}",
        "there is no tool to {act}",
        "my tools cannot {act}",
        "I have no tool for the {thing}",
        "I have no tool that can {act}",
    ),
    (
        ".",
        ".",
        " today.",
        " right now.",
        " yet.",
        " myself.",
        " at all.",
        " from here.",
        " here.",
        " for you.",
        " with my tools.",
        ", sorry.",
    ),
)

BARE_REFUSALS = _composed(
    ("", "Sorry, ", "I'm sorry, ", "Unfortunately, ", "I'm afraid "),
    (
        "I can't do that",
        "I am not able to help",
        "I cannot help with it",
        "I have no tool for it",
        "I am unable to do it",
    ),
    (".", " today.", " right now.", " at all.", " from here.", " for you.", " with my tools.", ", sorry."),
)

CLAIMS = _composed(
    ("", "", "Done, ", "Okay, ", "Great, ", "Good, ", "Yes, "),
    (
        "the {thing} is {done}",
        "your {thing} is {done}",
        "I {done} the {thing}",
        "I have {done} the {thing}",
        "the {thing} was {done}",
        "the {thing} got {done}",
        "the {thing} is {done} {slots}",
        "I have {done} your {thing} {slots}",
    ),
    (".", " already.", " just now.", " as you asked.", " today.", " now.", " for you."),
)

WORDINGS = Wordings(
    articles=("a", "a", "the", "my", "our"),
    requests=PLAIN_REQUESTS * 3 + REQUESTS,
    slots={
        "date": ("on {v}", "for {v}", "on the date {v}", "by {v}"),
        "time": ("at {v}", "at {v} o'clock", "for {v}", "from {v}"),
        "city": ("in {v}", "to {v}", "near {v}", "for {v}"),
        "origin": ("from {v}", "starting in {v}", "leaving {v}"),
        "person": ("with {v}", "for {v}", "to {v}", "from {v}"),
        "title": ('called "{v}"', 'titled "{v}"', 'with the title "{v}"', 'named "{v}"'),
        "code": ("with code {v}", "with reference {v}", "number {v}", "under {v}"),
        "nights": ("for {v} nights", "of {v} nights", "lasting {v} nights"),
        "guests": ("for {v} guests", "for {v} people", "with {v} guests"),
        "copies": ("in {v} copies", "{v} times", "with {v} copies", "{v} copies"),
        "minutes": ("for {v} minutes", "of {v} minutes", "lasting {v} minutes"),
        "amount": ("of {v} euros", "for {v} euros", "with {v} dollars", "worth {v} euros"),
        "size": ("in {v}", "in size {v}", "of {v} size"),
        "colour": ("in {v}", "in the colour {v}", "coloured {v}"),
        "priority": ("with {v} priority", "as {v}", "with priority {v}"),
    },
    questions_back=PLAIN_QUESTIONS_BACK + QUESTIONS_BACK,
    refusals=PLAIN_REFUSALS * 3 + REFUSALS,
    bare_refusals=PLAIN_BARE_REFUSALS * 3 + BARE_REFUSALS,
    claims=PLAIN_CLAIMS * 3 + CLAIMS,
)
