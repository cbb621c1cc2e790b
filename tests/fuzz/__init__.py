"""A fuzzer for every decoder: honest input, broken in many ways."""
