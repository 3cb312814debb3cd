"""A run's checkpoints behind OpenAI's chat interface, on this machine alone.

`requests` come in, `replies` go out, and `server` is the HTTP between them.
"""
