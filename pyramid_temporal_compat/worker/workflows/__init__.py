"""The generated workflows. Code here is deterministic: it does no I/O and replays from a history."""
