"""A task's state, value and error, read back from Temporal."""

from .result import AsyncResult, EagerResult, allow_join_result, result_from_tuple
from .result_sets import GroupResult, ResultSet

__all__ = ["AsyncResult", "EagerResult", "GroupResult", "ResultSet", "allow_join_result", "result_from_tuple"]
