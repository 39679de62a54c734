"""Examples: the shapes that a tenant's rows come in, and what each says. Pure.

Down here because both who trains on a file and who makes the next one out of it read them.
"""
