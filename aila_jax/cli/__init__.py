"""The command line: flags in, one call to `aila_jax.runs`, text out. Nothing here imports JAX before a
command runs.
"""
