"""The commands of a device, a module each: SUMMARY, its options, and the one call of the library behind it."""
