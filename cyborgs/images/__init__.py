"""Images and their annotations: listed, indexed, decoded, shrunk, drawn."""
