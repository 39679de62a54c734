"""vLLM's own API server, under a main module that imports nothing.

The engine core is spawned and imports its parent's main module again: with vLLM's this costs it the
whole HTTP server. (vLLM's `python -m vllm.entrypoints.openai.api_server` is deprecated besides.)
"""

if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
