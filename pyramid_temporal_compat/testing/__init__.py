"""Tools for the tests of applications: the code behind the fixtures of the pytest plugin `pytest_ptemporal`.

The plugin itself is a module outside this package, so that pytest need not import the package at every start.
"""
