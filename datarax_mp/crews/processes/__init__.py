"""Life and work of worker processes.

In the calling process: ``pool`` (the processes of this interpreter), ``crew`` (those that serve one epoch).
In between:             ``nursery`` (a small process that forks workers and watches over them), ``protocol``.
In a worker:            ``loop`` (its main loop), ``recipe.executor`` (what it does).
"""
