"""A file that says what a pipeline has given, so that two runs can be compared later: ``Pipeline(..., ledger=path)``.

    worker: arrays of a step --digests--> some words ....answer....> main: next --book--> one line in the file
    file --reading--> what is in force --compare--> the first step, record and field that differ

A ledger is text, and is only ever appended to; each line is one ``write``:

    @ {"epoch": 0, "place": 0, "fields": [...], ...}     an iterator begins: lines at its position or later are void
    epoch step place rows digest                         the user receives a batch
    - epoch place                                        the user has not received it after all: it comes again
    ...~                                                 the line was torn when a process or a disk came to its end

``place`` is how many records of the epoch were used up before the step, over all shards: a position that means the same
with another batch size. So a run that goes on from a state goes on in the same file, and what an earlier one had
written beyond that state is void, without being erased. A process that is killed between the line and the return of
``next`` leaves a line for a batch that nobody has; the next run from a state voids it.

The digest holds, per field, the 64-bit hashes of its rows added up twice, plainly and times the rows' record numbers
(modulo 2^64). The first sum says whether something differs. Where it is one record, the quotient of the two differences
is its number: so a line stays small, whatever the batch size, and still names the record. ``compare`` has the details.

What it costs (``scripts/measure_ledger.py``): 1 % where photographs are decoded and cropped, 0.07 ms for each megabyte
where rows are only copied out of memory, and 0.1 ms for 256 small rows, all in the workers; main pays 2 us for a line.
"""
