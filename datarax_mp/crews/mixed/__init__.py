"""Processes of this machine and Ray actors together, for one pipeline.

    BothEngine ---- makes a BothCrew, of the crews of two other engines
    BothCrew   ---- whoever has room takes the next run: a process first, an actor where all of these have enough

Neither of the two crews knows of the other.
"""
