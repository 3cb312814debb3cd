"""One module for each word of the command line; `calltune dpo run.toml` is `dpo.run`.

A verb orders the work and writes the manifest; what two verbs need is in a room below.
"""
