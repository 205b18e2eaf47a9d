"""Runtimes, devices, programs and queues: the only part that imports pyopencl."""
