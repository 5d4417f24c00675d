"""What a command says when it cannot go on."""


class CommandError(Exception):
    """One line for the user, and the exit status."""

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(message)
        self.exit_code = exit_code
