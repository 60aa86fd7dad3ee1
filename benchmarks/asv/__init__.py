"""Timings by airspeed velocity: see CONTRIBUTING.md."""
