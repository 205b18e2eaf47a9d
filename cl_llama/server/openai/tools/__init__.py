"""Functions that a model may call: how it is told of them, how its calls are written and read."""
