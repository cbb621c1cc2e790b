"""Put messages into the current transaction, and send them after it commits."""
