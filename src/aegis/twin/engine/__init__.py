"""The engine: matching, margin, triggers and money of one account on one venue, sans I/O."""
