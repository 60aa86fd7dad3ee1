"""What every package uses: noise, runtime state, threads, validation, products."""

__all__ = []
