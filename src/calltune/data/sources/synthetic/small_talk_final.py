"""Questions of the final split that need no tool, and their replies."""

from calltune.data.sources.synthetic.wordings import SmallTalk

SMALL_TALK = SmallTalk(
    pairs=(
        ("Do you know what {word} means?", "Yes, the word {word} means being {word_2}."),
        ("What is the meaning of the word {word}?", "The meaning of {word} is {word_2}."),
        ("In a few words, what is {word}?", "In a few words, {word} is {word_2}."),
        ("What city is the capital of {country}?", "The city of {country_2} is the capital of {country}."),
        ("Can you tell me the capital of {country}?", "Yes, the capital of {country} is {country_2}."),
        ("What is the sum of {a} and {b}?", "Of {a} and {b} the sum is {sum}."),
        ("Please add {a} to {b}.", "To add {a} to {b} makes {sum}."),
        ("Tell me how many legs {animal} has.", "I think that {animal} has {animal_2} legs."),
        ("What is the reverse of {opposite}?", "The reverse of {opposite} is {opposite_2}."),
        ("Do you know what colour {coloured} is?", "Yes, the colour of {coloured} is {coloured_2}."),
        ("Thank you, the {thing} was fun.", "You are welcome, I am happy that the {thing} was fun."),
        ("Great job with the {thing}, thanks!", "Thank you, I am glad that the {thing} was great."),
        ("Hi, how are you today?", "Hi, I am fine today, thank you."),
        ("Good night!", "Good night to you, see you tomorrow."),
        ("Tell me who you are.", "I am an assistant and a program for daily tasks."),
        ("What is nice about {a_thing}?", "I think that {a_thing} is nice because it makes life easier."),
        ("Do people need {a_thing}?", "Many people use or plan {a_thing}."),
        ("What do you think of my {thing}?", "I think your {thing} is great."),
        ("My {thing} yesterday was fun.", "That sounds like a good {thing}."),
        ("I feel so {mood} about the {thing}.", "It is fine to feel {mood} about the {thing}, it will pass."),
        ("Tell me a rhyme with {a_thing}.", "The {thing} is here and so is the tea."),
        ("Give me a tip about {a_thing}.", "With {a_thing}, take your time and keep it simple."),
        ("See you later, bye.", "Goodbye, see you and take care."),
        ("Can you spell {word} for me?", "Yes, {word} is spelled {word}."),
    ),
    fillers={
        "word": (
            "rapid|very fast", "tiny|very little", "joyous|very happy", "tearful|very sad", "aged|very old",
            "frosty|very cold",
        ),
        "country": ("Germany|Berlin", "Sweden|Stockholm", "Bulgaria|Sofia", "Ecuador|Quito", "Iceland|Reykjavik"),
        "animal": ("a sheep|four", "a butterfly|six", "an eagle|two", "a tarantula|eight"),
        "opposite": ("wide|narrow", "clean|dirty", "brave|afraid", "thick|thin"),
        "coloured": ("a carrot|orange", "a leaf|green", "cotton|white", "a crow|black"),
        "mood": ("upset", "joyful", "restless", "hopeful"),
    },
)  # fmt: skip
