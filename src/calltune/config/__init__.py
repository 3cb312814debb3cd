"""The run file: each table of it is one frozen class, and every mistake in it is one line.

A class named `...Config` is a table of the run file; a module of a family checks its own keys with its `Settings`.
"""
