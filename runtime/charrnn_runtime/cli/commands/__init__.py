"""The commands of a device, a module each: its options, and the one call of the library behind it."""
