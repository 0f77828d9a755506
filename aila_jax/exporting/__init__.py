"""A model with its dial, out again: folders that transformers and PEFT read, with a card and a program."""
