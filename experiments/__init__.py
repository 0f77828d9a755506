"""The experiments whose results the README shows: their configurations, and the tables made from their result
files.
"""
