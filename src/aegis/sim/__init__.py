"""Simulation: the whole bot under drawn faults in virtual time, judged from the venue's side."""
