"""Floor 2: the OpenAI-compatible front door. The only thing that a tenant can reach."""
