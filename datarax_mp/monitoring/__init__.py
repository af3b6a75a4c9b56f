"""What a running pipeline uses, seen from outside of it.

Import the module that is wanted: ``datarax_mp.monitoring.memory`` (the memory of a process tree) needs psutil, which
``pip install "datarax-mp[monitoring]"`` brings. Nothing here imports JAX.
"""
