"""For the tests of applications: the parts behind the fixtures of `pytest_ptemporal`."""
