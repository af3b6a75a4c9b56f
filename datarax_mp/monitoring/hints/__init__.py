"""Warnings that save a day: what a running pipeline shows of itself that its user would want to know.

    Look (what is known)  --table.HINTS, one small function each-->  a sentence, or None  --teller-->  the log, once

A hint goes by what was measured or what the records are, not by arguments alone: eight workers on two cores are right
where they wait for a disk. Whoever wants another one writes a module beside these and a line in ``table``.
"""
