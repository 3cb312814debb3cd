"""JSON texts of values that nobody outside may send, each with what is said of it."""

NOT_STRICT = [
    ("NaN", "not valid JSON: NaN is no number"),
    ("-Infinity", "not valid JSON: -Infinity is no number"),
    ("1e999", "not valid JSON: the number '1e999' is beyond a double"),
    ("7" * 5000, "not valid JSON: a number of thousands of digits"),
    ('{"k": 1, "k": 2}', "not valid JSON: the key 'k' occurs twice in one object"),
    ('"\\ud83d"', "half of a surrogate pair, \\ud83d, is no text"),
    ('{"k":' * 70 + "1" + "}" * 70, "JSON nested too deeply: more than 64 levels"),
    ("[" * 100_000, "JSON nested too deeply"),
    ('"', "not valid JSON: "),
]

NAMES = ["nan", "infinity", "beyond a double", "digits", "key twice", "surrogate", "deep", "bottomless", "cut off"]
"""What the tests over `NOT_STRICT` are called: some of its texts are too long for it."""
