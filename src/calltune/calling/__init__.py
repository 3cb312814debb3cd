"""What a call is: in a tool's schema, in JSON, in the text of a chat template, and as one of four behaviours.

Nothing here knows a run, a file of rows or a model's weights.
"""
