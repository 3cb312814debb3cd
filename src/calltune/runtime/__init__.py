"""This process: its siblings under a launcher, its signals, its threads and its terminal.

Nothing here knows what calltune is for.
"""
