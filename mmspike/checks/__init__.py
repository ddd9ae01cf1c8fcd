"""Checks of what users give: data, configs and weights. They refuse or warn, and change nothing."""
