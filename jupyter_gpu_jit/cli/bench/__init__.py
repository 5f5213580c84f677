"""``gpu-jit bench``: what is measured, on which parts, and how it is told. Called by figures.py."""
