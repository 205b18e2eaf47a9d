"""Serving many requests with one model: cache, scheduler, sampler and the thread that runs them."""
