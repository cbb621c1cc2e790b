"""The fault suite: real processes, broken at seeded moments under load, and the counts that must hold."""
