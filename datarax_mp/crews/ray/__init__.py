"""Ray actors: workers on other machines, for hosts whose cores do not suffice.

    main                                                    | a node of the cluster
    recipe --shipping--> segments --ray.put, each once----->| the node's object store, one copy of each segment
                                                            |      ^ mapped by every actor there
    submit(assignment) --run-----------------------------> actor: executor --> memory of its own
    answers() <-- copied into the slot <-- one object <---- (answer, the bytes of the run)

``workers.py`` is what the user says, ``engine.py`` what a pipeline has, ``crew.py`` one iterator's actors,
``worker.py`` main's side of one of them, ``actor.py`` the other side, ``package.py`` how a recipe gets there,
``cluster.py`` whose Ray it is, ``losses.py`` what it means that one is gone.

Only main writes to a slot, when it has an answer. So an actor that is lost, or that goes on with what nobody wants any
more, can do no harm to anything here: its runs are handed to others, and its slots are free at once.
"""
