"""``scripts/capacity``: plays a curve of arrivals against rules of scaling, and tells how long recordings wait."""
