"""Personal details are taken out of rows: found (`finder`), replaced alike everywhere (`stand_ins`), told (`rows`).

A value is known by its canonical form, so that a phone number is the same one in the question, as a number of the
call's arguments, and in the JSON text of the tool's result.
"""
