"""What ``drill`` does to a pipeline, one idea a file.

``reference.py`` is an undisturbed run, of which a hash of each batch and the state before it are kept;
``disturbances.py`` what is done to its processes; ``rounds.py`` a part of the run again, from one of those states, with
one disturbance; ``elsewhere.py`` the whole of it again in a fresh process, with a small /dev/shm where one can be had.
"""
