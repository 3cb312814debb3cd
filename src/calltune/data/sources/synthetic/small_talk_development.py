"""Questions of the development split that need no tool, and their replies."""

from calltune.data.sources.synthetic.wordings import SmallTalk

SMALL_TALK = SmallTalk(
    pairs=(
        ("What is meant by {word}?", "By the word {word} people mean {word_2}."),
        ("Can you tell me what the word {word} means?", "The word {word} means that something is {word_2}."),
        ("Please explain {word} to me.", "Yes, {word} is something that is {word_2}."),
        ("Tell me the capital of {country}.", "{country_2} is the capital of {country}."),
        ("What is {country}'s capital city?", "The capital of {country} is the city of {country_2}."),
        ("How much do {a} and {b} make?", "{a} and {b} make {sum}."),
        ("What do I get if I add {a} and {b}?", "With {a} and {b} it is {sum}."),
        ("How many legs are there on {animal}?", "Most of the time {animal} has {animal_2} legs."),
        ("Do you know the opposite of {opposite}?", "Yes, the opposite of {opposite} is the word {opposite_2}."),
        ("Which colour does {coloured} have?", "The colour of {coloured} is {coloured_2}."),
        ("Thanks for your help with the {thing}!", "You are welcome, I am glad about the {thing}."),
        ("The {thing} was really nice, thank you.", "I am glad to hear that the {thing} was nice."),
        ("Hello, how are you?", "Hello, I am fine, thank you."),
        ("Good afternoon!", "Good afternoon, it is nice to meet you."),
        ("Are you a real person?", "I am a program and your assistant, thank you."),
        ("What do people like about {a_thing}?", "Many people think that {a_thing} makes life easier."),
        ("Is {a_thing} a good idea?", "I think that {a_thing} can be a good idea."),
        ("Can you explain what {a_thing} is?", "In one sentence, {a_thing} is something people use or plan."),
        ("I am happy because of my {thing}.", "That is good news, your {thing} sounds great."),
        ("I am very {mood} today.", "It is normal to be {mood}, next time it will be better."),
        ("Tell me something funny about {a_thing}.", "A {thing} and a little {thing} walk into a bar for tea."),
        ("Write a nice line about my {thing}.", "Your {thing} is here and the day is great."),
        ("Bye, see you soon!", "Goodbye, see you and have a nice day."),
        ("How do I spell the word {word}?", "The word {word} is spelled {word}."),
    ),
    fillers={
        "word": (
            "swift|very fast", "petite|very little", "gleeful|very happy", "sorrowful|very sad", "antique|very old",
            "blazing|very hot",
        ),
        "country": ("Spain|Madrid", "Denmark|Copenhagen", "Croatia|Zagreb", "Ghana|Accra", "Finland|Helsinki"),
        "animal": ("a cat|four", "a beetle|six", "a goose|two", "a scorpion|eight"),
        "opposite": ("deep|shallow", "wet|dry", "strong|weak", "quiet|loud"),
        "coloured": ("a banana|yellow", "a frog|green", "salt|white", "a raven|black"),
        "mood": ("worried", "cheerful", "sleepy", "calm"),
    },
)  # fmt: skip
