"""An external test: a finished model, everything frozen, scored on images that its run has never seen."""
