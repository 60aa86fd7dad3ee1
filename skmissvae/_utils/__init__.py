"""Helpers of all packages: random noise, runtime state, threads, validation, matrix products."""

__all__ = []
