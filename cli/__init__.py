"""Floor 3: one command, one function: composes the rooms into processes."""
