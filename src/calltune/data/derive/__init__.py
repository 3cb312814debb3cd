"""Decision data from calls: rows of all four behaviours, and preference pairs, made from a user's own labelled calls.

Logs of a working agent hold calls and hardly ever a refusal or a question back, and a model trained on them never
learns when not to call. `derive` makes those rows by rule, each naming its parent and its rule; `questions` makes a
test of the same kind from the conversations that are held out of training.
"""

from calltune.data.derive.holding import Conversations
from calltune.data.derive.making import Counts, derive
from calltune.data.derive.questions import questions

__all__ = ["Conversations", "Counts", "derive", "questions"]
