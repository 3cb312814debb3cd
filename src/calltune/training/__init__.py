"""One stage: the arguments of TRL and PEFT, what is trained, in which memory, and how less work gives the same numbers.

`stage` is the way through; TRL's trainers do the training.
"""
