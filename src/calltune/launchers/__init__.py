"""Where a run happens: each module starts processes that run one verb. `--on NAME` chooses; `local` is this machine."""
