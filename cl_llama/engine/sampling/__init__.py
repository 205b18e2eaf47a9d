"""Choosing tokens from logits, in NumPy.

A step's logits pass through: repetition, presence and frequency penalties and DRY; logit bias; the
request's mask. The largest wins if the temperature is 0. Otherwise top-n-sigma and top-k cut, the
temperature, fixed or by the entropy of what is left, divides; typical-p, top-p, min-p and XTC cut,
each among what the one before has left; and one token is drawn. Mirostat 2 takes the place of all
cuts. llama.cpp's default order has the temperature last, after all cuts: there, a higher one makes
what is left more even, and here it lets more tokens stay, as in Hugging Face's and vLLM's.
"""

from cl_llama.engine.sampling.dry import Breakers
from cl_llama.engine.sampling.sampler import Choice, LogitMask, Sampler
from cl_llama.engine.sampling.step_logits import StepLogits

__all__ = ["Breakers", "Choice", "LogitMask", "Sampler", "StepLogits"]
