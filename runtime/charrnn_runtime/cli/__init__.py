"""The command line of a device, with argparse."""
