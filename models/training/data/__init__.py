"""Generators of the training world: one file a topic, everything drawn from a seeded ``Random``."""
