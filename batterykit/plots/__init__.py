"""Pictures: one function a picture, one module per theme. Nothing is computed here."""
