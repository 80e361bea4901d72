"""The composition root: alone names every actor and adapter, boots, runs and ends one process."""
