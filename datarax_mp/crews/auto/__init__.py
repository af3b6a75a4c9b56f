"""Threads or processes, whichever suit the code: found out once a pipeline, by a trial.

    first crew --> nothing to choose? (system, lanes, worker_init) --> engine.py
               --> a copy of the recipe, as a worker would have it --> engine.py
                     one thread makes the first batches     }           trial.py
                     several make them at once              }           sampler.py: a process looks who is at work
                     kept.py: what does the code keep?      }
               --> verdict.py: threads or processes, and why       --> the log, report(), top
    all crews  --> ThreadEngine or ProcessEngine

Which records make a batch does not depend on it, so that a wrong choice is slower and never wrong. Threads are taken
only of code that has been seen to bear them: it keeps nothing that changes while records are read, draws from no
generator that others share, and several at once make the same bytes as one. What only a copy of the user's objects has
done is gone with the copy.
"""
