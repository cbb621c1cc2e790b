"""The parameters of a task's function, as a caller sees them, and the check of a call's arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """The signature of a function, and what is found out from it once, for all calls."""

    signature: inspect.Signature
    complete_counts: range
    """The numbers of positional arguments that make a complete call, if the call has no keyword arguments."""

    @classmethod
    def of(cls, signature: inspect.Signature) -> Parameters:
        """Return the parameters of this signature."""
        parameters = signature.parameters.values()
        if any(each.kind is each.KEYWORD_ONLY and each.default is each.empty for each in parameters):
            return cls(signature, range(0))
        by_position = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        least = sum(each.default is each.empty for each in by_position)
        takes_more = any(each.kind is each.VAR_POSITIONAL for each in parameters)
        return cls(signature, range(least, sys.maxsize if takes_more else len(by_position) + 1))

    def check(self, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Raise `TypeError` if the function does not take these arguments."""
        if kwargs or len(args) not in self.complete_counts:  # counting takes a tenth of the time of `bind`
            self.signature.bind(*args, **kwargs)
