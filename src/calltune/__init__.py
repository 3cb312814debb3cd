"""calltune teaches a small language model when and how to call tools, and proves that it learned."""

__version__ = "0.1.0"
