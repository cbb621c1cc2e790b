"""A task's state, value and error, read back from Temporal."""

from .eager_result import EagerResult
from .join_guard import allow_join_result
from .result import AsyncResult, result_from_tuple
from .result_sets import GroupResult, ResultSet

__all__ = ["AsyncResult", "EagerResult", "GroupResult", "ResultSet", "allow_join_result", "result_from_tuple"]
