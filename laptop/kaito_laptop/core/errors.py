"""What ends a command of the laptop."""


class LaptopError(Exception):
    """It cannot go on; the message is a sentence for whoever typed the command."""
