"""Run folders, checkpoint rules, random state and callbacks of general use."""
