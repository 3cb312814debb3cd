"""What is worked out once of an object that comes again and again, as the tools of one agent's rows do."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")

_MOST = 4096


class OncePerObject(Generic[Made]):
    """A function of one object that is called once for each object, not for each of equal ones.

    Nothing of what it is given may be altered later. It keeps the last objects alive, so that no other can take their
    identity.
    """

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make
        self._made: dict[int, tuple[Any, Made]] = {}

    def __call__(self, value: Any) -> Made:
        """Return what is made of the object."""
        known = self._made.get(id(value))
        if known is not None:
            return known[1]
        if len(self._made) >= _MOST:
            self._made.clear()
        made = self._make(value)
        self._made[id(value)] = (value, made)
        return made
