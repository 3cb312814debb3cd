"""A model loaded, asked and compared: the backends, an OpenAI-compatible endpoint, and rows with common beginnings.

Nothing here trains.
"""
