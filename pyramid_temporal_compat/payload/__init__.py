"""What travels, as bytes: types, serialisers, codecs, and errors on the wire."""
