"""The tools, run as a user runs them; a package, so that its helpers can be imported."""
