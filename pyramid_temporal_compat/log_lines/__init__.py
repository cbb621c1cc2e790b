"""How this package writes its own log lines: escaped, not too often, and no event twice."""
