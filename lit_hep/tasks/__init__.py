"""The five tasks: one folder each; nothing in one imports another."""
