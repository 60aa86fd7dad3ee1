"""A real table with missing cells, for examples."""

from .penguins import load_penguins

__all__ = ["load_penguins"]
