"""What ``bench`` is made of.

tried (which settings)  --measure (each there and back)-->  Measured  --verdict (what bounds, what to choose)-->  words,
                                                                                                           JSON, plot
"""
