"""Metrics, curves and figures from plain arrays: no task, no torch."""
