"""
The doctor: asks each venue whether it can be traded now, and says what to mend.

`checks*.py` judge facts (pure), `probe.py` and its neighbours gather them, `report.py` shows them,
`run.py` puts it together, `stamp.py` remembers the verdict for a live start. See docs/doctor.md.
"""
