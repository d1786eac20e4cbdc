"""The command line: arguments become one library call, its result an exit code."""
