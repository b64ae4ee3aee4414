"""The commands of the training side, a module each: options and printing, around one call of the library."""
