"""The engine in virtual time: promises of docs/spec/behaviour.md, one by one."""
