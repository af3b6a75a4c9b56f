"""What a batch is to the user, the half of ``core`` that imports JAX: ``Element``, ``Batch`` and what works on them.

    element       one sample
    batch         Batch: samples stacked, lazily made
      fields        ... its habits of a dict
      lazy_module   ... how JAX and NNX see it
      stacking      ... making one of elements, and checking its parts
    ops, loops    operations on whole batches, eagerly and in compiled control flow
    create, view  other ways to make one, and the plain container beside it

Scripts import all of it from ``datarax_mp.core.element_batch``, where datarax has it.
"""
