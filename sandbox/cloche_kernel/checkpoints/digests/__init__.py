"""How a value is described for a comparison across processes, kind by kind; `compare.py` is what others call."""
