"""The command line of training and export: options, printing, and one call of the library for each command."""
