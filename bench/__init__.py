"""The benchmarks. Every figure in the documentation comes from here: `make bench`."""
