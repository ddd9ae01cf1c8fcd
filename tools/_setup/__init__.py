"""The parts of tools/setup_env.py, which need Python and nothing installed."""
