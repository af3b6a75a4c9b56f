"""Where records are kept that have been computed once: see ``stages.cache`` for what a user asks for.

    home          what a recipe knows: the stage, the fingerprint that stands for what comes before it, the memory
    fingerprint   whether source and stages still are what they were, in another process or on another day, too
    code          what of functions, classes and modules counts there; imports finds what is imported when they run
    handles       which data an open handle gives
    stamps        whether a file or a folder is what it was
    packing       a record as bytes, and back
    sealed        such bytes with what shows that they are whole, and whose
    disk          files that several processes write and read at once       } the two ways to keep them, one
    memory        one file without a name that all workers read and write   } contract: ``store.Store``

Nothing wrong is ever read: whoever reads copies first and compares the checksum then, so that half a record, another's,
or bytes that somebody is just writing over, are records that are not there.
"""
