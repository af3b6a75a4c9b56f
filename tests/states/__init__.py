"""States as released versions wrote them: every later version has to go on from them.

python -m tests.states.write 0.1     writes those of the version that is about to be released
"""
