"""Safety decides whether an intent may leave: a pure gate, its state, and the shell on the bus."""
