"""Trade sizes signals, executes approved intents, and keeps the book of orders and positions."""
