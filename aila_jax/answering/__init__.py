"""Answers from passages: which passage an answer comes from, exactly (docs/howto/answer.md)."""
