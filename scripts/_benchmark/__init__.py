"""The parts of benchmark.py, and what scripts share that measure single things.

sources, workloads   what there is to load: records, and how they become batches
systems/             who loads it: a module for each loader
child                one measurement, in a process of its own
limits               what the machine can do without any loader
processes, watch     the measuring process's view of such a child: its memory, its end, what it leaves behind
runs                 rounds over all systems
table, chart         the results
epochs               files read whole epochs long, for measure_formats.py and measure_shards.py
"""
