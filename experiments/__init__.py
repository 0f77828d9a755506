"""The experiments whose results the pages show: their configurations, and the tables made from their result
files.
"""
