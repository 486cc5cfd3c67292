"""The command line: arguments to settings, results to text and exit code.

Importing it is quick; torch and the rest of lipverify are imported inside the commands.
"""

from lipverify.cli.app import main

__all__ = ["main"]
