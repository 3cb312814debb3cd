"""What a run leaves on the disk: JSON lines, hashes, the manifest that makes a stage complete, and MLflow.

Every file is written whole or not at all.
"""
