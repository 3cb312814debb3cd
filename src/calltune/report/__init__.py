"""What was measured, set side by side: differences with their intervals, the gate, the model card and the page.

Everything is read from the files that the evaluation wrote; no model is loaded.
"""
