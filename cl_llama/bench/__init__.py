"""Measures a model on a device beside the limits of that device: `cl-llama bench`."""
