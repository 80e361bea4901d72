"""The domain, pure: instruments, orders, fills, positions, signals, intents and every bus event."""
