"""The vLLM engine: vLLM's AsyncLLM behind ChatEngine. The library is imported when an engine is made."""
