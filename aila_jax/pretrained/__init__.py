"""Pretrained models of others: read from Hugging Face folders and GGUF files, and written as folders."""
