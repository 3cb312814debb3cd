"""Proof that a template can do what `[chat] thinking` asks of it."""

from calltune.calling.chat import Chat
from calltune.calling.thoughts import LEFT_OUT
from calltune.errors import ModelError


def prove_thoughts(chat: Chat, thinking: str) -> tuple[str, ...]:
    """See that a template writes what `[chat] thinking` asks for.

    Returns:
        What is done otherwise than a user might expect, a sentence each.

    Raises:
        ModelError: thoughts cannot be written and taken off again, or both modes have one prompt.
    """
    if thinking == "off":
        return ()
    # It is proven when it is made.
    chat.in_mode(True)
    if chat.has_switch:
        return ()
    if thinking == "both":
        raise ModelError(
            f"model '{chat.name}': its chat template writes the same prompt with thinking on and off, so that the two "
            'modes cannot be told apart; say [chat] thinking = "on" or "off"'
        )
    return (f"the chat template writes the same prompt with thinking on and off: {LEFT_OUT}",)
