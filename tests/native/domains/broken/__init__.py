"""A domain whose activities can't be imported."""
