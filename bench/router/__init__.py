"""Routers side by side: ours with everything on, LiteLLM's proxy, vllm-router, and none.

One engine without a model behind all of them; routers on core 0, the engine and the load on core 1;
in turns, in one run. Single figures move from machine to machine: read the ratios.
"""
