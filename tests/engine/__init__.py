"""The run floor in virtual time: promises of design.md §8, one by one."""
