"""A local runtime for the GLM family of language models."""
