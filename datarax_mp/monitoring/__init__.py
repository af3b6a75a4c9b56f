"""What a running pipeline does and uses: read by anybody, at the cost of nobody.

    timings (feed/), close looks (recipe/watch.py)  --->  stats.py (figures)  --->  report.py (words)
    the same of every run      --->  trace.py (spans, for Perfetto)
    the same, twice a second   --->  live.py  --->  page.py  ---|another process|--->  observed.py  --->  ``top``
    /proc, from outside        --->  memory.py (the memory of a process tree)
    stats, asked or in time    --->  prometheus.py, log_line.py
    stats, now and then        --->  hints/ (warnings that save a day)

``Pipeline.stats``, ``.report``, ``.trace`` and ``.log_every`` are the way to the first lines; ``prometheus.export``
needs ``pip install "datarax-mp[prometheus]"``. Of the last, import the module:
``datarax_mp.monitoring.memory`` needs psutil, which ``pip install "datarax-mp[monitoring]"`` brings. Nothing here
imports JAX.
"""
