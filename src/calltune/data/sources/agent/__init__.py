"""An agent of a made-up phone company: ten tools in one order, and conversations of several turns about them.

The splits "train", "development" and "final" share no wording and no value, and two tools of each of the last two are
in no other split.
"""
