"""The group-sparsity penalty and its proximal operator as float64 loops over layers, heads and groups."""

import numpy as np


def groups_of(params, groups):
    """(layer, projection, group, head) → W_i^(h) as float64, for every group of the query and key kernels."""
    found = {}
    layers = sum(name.startswith("layer_") for name in params)
    for layer in range(layers):
        for number, name in enumerate(("query", "key")):
            kernel = np.asarray(params[f"layer_{layer}"]["attention"][name]["kernel"], np.float64)
            for head in range(kernel.shape[1]):
                for group, block in enumerate(np.array_split(kernel[:, head], groups)):
                    found[layer, number, group, head] = block
    return found


def penalty(params, importance, layer_scale, lam_eta, scale_free=False):
    """λη Σ layer_scale_ℓ a_i ‖W_i‖_F, with `importance` [H, G]."""
    total = 0.0
    parts = groups_of(params, importance.shape[1])
    for (layer, number, group, head), block in parts.items():
        size = np.sqrt(np.sum(block**2))
        if scale_free:
            whole = np.sqrt(
                sum(np.sum(parts[layer, number, other, head] ** 2) for other in range(importance.shape[1]))
            )
            size = size / whole if whole else 0.0
        total += lam_eta * layer_scale[layer] * importance[head, group] * size
    return total


def shrunk(block, threshold):
    """The proximal operator of threshold · ‖·‖_F."""
    size = np.sqrt(np.sum(block**2))
    return block * 0.0 if size <= threshold else block * (1.0 - threshold / size)
