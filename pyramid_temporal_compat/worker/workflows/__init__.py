"""The generated workflows. Code here is deterministic: it does no I/O, and Temporal replays it from a history."""
