"""Speed of training and of the dial's sweep, beside the same model written plainly in JAX and in PyTorch.

python -m benchmarks.run --shapes=small,paper --out=docs/results/benchmark
"""
