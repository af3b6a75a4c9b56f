"""What ``doctor`` looks at: one file per kind of check, and the list of them in ``all.py``."""
