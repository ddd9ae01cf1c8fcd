"""The commands of mmspike, one file each; `mmspike NAME` and `tools/NAME.py` call its function."""
