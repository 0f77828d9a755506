"""Token cross-entropy as float64 loops."""

import numpy as np


def losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """−log softmax(logits)[target] of each position, in nats."""
    out = np.zeros(targets.shape)
    for index in np.ndindex(targets.shape):
        row = np.asarray(logits[index], np.float64)
        out[index] = row.max() + np.log(np.sum(np.exp(row - row.max()))) - row[targets[index]]
    return out


def linear_losses(features: np.ndarray, embedding: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The same with logits = features · embeddingᵀ."""
    return losses(np.asarray(features, np.float64) @ np.asarray(embedding, np.float64).T, targets)


def linear_gradients(
    features: np.ndarray, embedding: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of Σ weight · loss by the features and by the embedding."""
    features, embedding = np.asarray(features, np.float64), np.asarray(embedding, np.float64)
    by_features, by_embedding = np.zeros(features.shape), np.zeros(embedding.shape)
    for index in np.ndindex(targets.shape):
        row = embedding @ features[index]
        error = np.exp(row - row.max())
        error /= error.sum()
        error[targets[index]] -= 1
        by_features[index] = weights[index] * (error @ embedding)
        by_embedding += weights[index] * np.outer(error, features[index])
    return by_features, by_embedding
