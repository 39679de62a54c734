"""`switchyard demo`: the whole loop on real parts, told as a story in the terminal.

Everything that a tenant would do goes through the router by the openai SDK; everything else is what
an operator would read: the registry, the run file, a signal sent to a process.
"""
