"""Preference pairs from a model's own answers: what it is asked, what it answers, what is wrong with it, which pairs.

Only answers that are decided are paired: a call by BFCL's comparison with the known call and by its tool's schema, a
text by the rule of `calltune.calling.behavior`. A question whose known answer this verifier does not find right is left
out.
"""
