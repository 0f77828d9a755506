"""The frontier: what a relation costs in perplexity, and what it shows of the text: keys inside, entropy and
reach.
"""
