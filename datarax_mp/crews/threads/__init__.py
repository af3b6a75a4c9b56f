"""Threads of the calling process: for decoders and NumPy, which let go of the interpreter lock.

    this thread                                    threads of the crew
    ------------------------------------------     -------------------------------------------
    submit(assignment) --> todo, one for all  -->  gate: the source knows the run's epoch
                                                   executor, one a thread --> the slot
    answers()          <-- done               <--  answer; or, if nobody wants it, the slot is free

``engine.py`` is what a pipeline has, ``crew.py`` one iterator's threads, ``desk.py`` what lies between the two columns,
``gate.py`` what the user's code is told.

Source and stages are the very objects that the user made, shared by all threads. A thread cannot be killed: one that
takes too long is left to itself, and its slot never comes free.
"""
