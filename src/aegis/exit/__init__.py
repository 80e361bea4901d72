"""Exit gives every position its native stop and target, checks them, and closes what has none."""
