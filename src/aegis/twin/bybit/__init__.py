"""Bybit's face: requests in, answers and stream frames out, over one engine."""
