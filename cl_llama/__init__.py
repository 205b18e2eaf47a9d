"""Llama-family language models on any OpenCL device."""
