"""The command line: thin commands, one file per noun; `console` is the only place that prints."""
