"""Floor 2: the vLLM engine: launch, the resolver plugin, staging, the effect and parity check,
swap."""
