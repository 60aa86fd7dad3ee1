"""Helpers of all packages: noise, runtime state, threads, progress, validation, HTML, products."""

__all__ = []
