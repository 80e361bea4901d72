"""Tapes: recorded or generated markets, read, checked and turned into price paths."""
