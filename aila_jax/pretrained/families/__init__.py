"""Families of pretrained decoders: how each is described, and what its tensors are called."""
